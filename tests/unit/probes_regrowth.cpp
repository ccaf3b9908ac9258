// Growth against an oracle whose gradient is written down, and survival by birth.
#include <optional>

#include "probes_fixture.h"

namespace tandem::test::probes_regrowth_unit {

namespace {

const std::string kLayer = "weights/layer0";

ReadoutRun growing_run(const std::string& every = "1") {
  ReadoutRun run = zero_dormant_run(0.5);
  run.config = Config::resolve({{"probe_updates", every}});
  run.policies.weights.topology.operations = {{TopologyOperation::Kind::kDrop, "magnitude"},
                                              {TopologyOperation::Kind::kGrow, "gradient"}};
  return run;
}

std::unique_ptr<Probe> probe_of(Model& model, const std::vector<ReadoutRun>& runs) {
  auto probe = probes().at("probe", "regrowth")(runs);
  probe->begin(model);
  return probe;
}

// One input of value 1 and an output per weight; the training loss pulls with `pulls`, the
// validation loss is minus the sum of the outputs.
ChainNet net_of(const std::vector<double>& weights, const std::vector<std::uint8_t>& mask) {
  const auto outputs = static_cast<std::int64_t>(weights.size());
  return ChainNet({doubles(weights, {1, 1, outputs})}, {torch::tensor(mask, torch::kByte)});
}

ProbeInput input_at(std::int64_t step, Model& model, const std::vector<ReadoutRun>& runs,
                    const std::vector<double>& pulls, std::int64_t inputs = 1) {
  const auto outputs = static_cast<std::int64_t>(pulls.size());
  const at::Tensor x = torch::ones({1, 1, inputs}, torch::kDouble);
  ProbeInput input = input_of(model, runs, x);
  input.loss = [](const at::Tensor& logits) { return at::Tensor(-logits.sum(-1).mean(1)); };
  input.training = [x, pull = doubles(pulls, {outputs})](std::int64_t) {
    return TrainingPart{x, [pull](const at::Tensor& logits) {
                          return at::Tensor((logits * pull).sum(-1).mean(1));
                        }};
  };
  input.step = {step};
  return input;
}

std::optional<std::int64_t> step_of(const Measurements& rows, const std::string& layer,
                                    const std::string& name) {
  for (const Measurement& row : rows[0]) {
    if (row.layer == layer && row.name == name) return row.step;
  }
  return -1;
}

}  // namespace

// Candidates 2..5 with |g| 4, 3, 2, 1; 2 and 4 are grown, 2 and 3 would be best.
TEST_CASE("precision, its excess over chance, and energy of what was grown", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run()};
  ChainNet net = net_of({9, 8, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0});
  const auto probe = probe_of(net, runs);
  CHECK(probe->watches_before_updates());
  probe->before_update(input_at(100, net, runs, {50, 50, -4, 3, -2, 1}), {1});
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0, 0}), active_bits({1, 0, 1, 0, 1, 0}),
         100);
  const auto rows = probe->measure(input_at(120, net, runs, {0, 0, 0, 0, 0, 0}));
  for (const std::string& layer : {kLayer, std::string("weights")}) {
    CHECK(value(rows, 0, layer, "growth_precision") == Approx(0.5));
    CHECK(value(rows, 0, layer, "growth_over_chance") == Approx(0).margin(1e-12));
    CHECK(value(rows, 0, layer, "growth_energy") == Approx(20.0 / 25));
    CHECK(value(rows, 0, layer, "growth_count") == 2);
    CHECK(step_of(rows, layer, "growth_precision") == 100);
    CHECK(step_of(rows, layer, "growth_count") == 100);
  }
  CHECK_FALSE(has(rows, 0, "weights", "realised_gain"));
  CHECK(probe->measure(input_at(130, net, runs, {0, 0, 0, 0, 0, 0}))[0].empty());
}

// Two inputs of value 1 through layer0 [2,2], of which row 0 = (1, 1) is active, and layer1 [2,12],
// of which columns 0 and 1 are, column 0 = (2, 1). With pulls v = (1, 0, 0, 0, 5, 3, 0, ...):
//   layer0  dL/dh = (2, 1) in either row: candidates 2 and 3 with |g| 2, 1
//   layer1  h v^T, h = (1, 1): of 20 candidates 4 and 16 have 5, 5 and 17 have 3, the others 0
TEST_CASE("over all layers chance is the sum of each layer's own", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run()};
  const at::Tensor w0 = doubles({1, 1, 0, 0}, {1, 2, 2});
  at::Tensor w1 = torch::zeros({1, 2, 12}, torch::kDouble);
  w1[0][0][0] = 2;
  w1[0][1][0] = 1;
  const std::vector<std::uint8_t> start = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                           1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  ChainNet net({w0, w1}, {torch::tensor({1, 1, 0, 0}), torch::tensor(start, torch::kByte)});
  const auto probe = probe_of(net, runs);
  probe->before_update(input_at(100, net, runs, {1, 0, 0, 0, 5, 3, 0, 0, 0, 0, 0, 0}, 2), {1});
  // Grown: 2, which is best, and 4, 16, 17, 23, of which three are among the best four.
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0}), active_bits({1, 0, 1, 0}));
  std::vector<std::uint8_t> later(24, 0);
  for (const std::size_t i : {4, 16, 17, 23}) later[i] = 1;
  update(*probe, 0, "layer1", active_bits(start), active_bits(later));
  const auto rows = probe->measure(input_at(120, net, runs, {0}));
  const auto check = [&rows](const std::string& layer, double common, double grown, double chance) {
    CHECK(value(rows, 0, layer, "growth_count") == grown);
    CHECK(value(rows, 0, layer, "growth_precision") == Approx(common / grown));
    CHECK(value(rows, 0, layer, "growth_over_chance") ==
          Approx((common - chance) / (grown - chance)));
  };
  check(kLayer, 1, 1, 1.0 / 2);
  check("weights/layer1", 3, 4, 16.0 / 20);
  check("weights", 4, 5, 1.3);
  CHECK(value(rows, 0, kLayer, "growth_energy") == Approx(1));
  CHECK(value(rows, 0, "weights/layer1", "growth_energy") == Approx(59.0 / 68));
  CHECK(value(rows, 0, "weights", "growth_energy") == Approx(63.0 / 72));
}

TEST_CASE("an update that only drops has a count of 0 and no precision", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run()};
  ChainNet net = net_of({9, 8, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0});
  const auto probe = probe_of(net, runs);
  probe->before_update(input_at(100, net, runs, {0, 0, 4, 3, 2, 1}), {1});
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0, 0}), active_bits({1, 0, 0, 0, 0, 0}));
  const auto rows = probe->measure(input_at(120, net, runs, {0, 0, 0, 0, 0, 0}));
  for (const std::string& layer : {kLayer, std::string("weights")}) {
    CHECK(value(rows, 0, layer, "growth_count") == 0);
    CHECK_FALSE(has(rows, 0, layer, "growth_precision"));
    CHECK_FALSE(has(rows, 0, layer, "growth_over_chance"));
  }
}

TEST_CASE("growth by the oracle itself is perfect, and over chance", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run()};
  ChainNet net = net_of({9, 8, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0});
  const auto probe = probe_of(net, runs);
  probe->before_update(input_at(100, net, runs, {50, 50, -1, 3, -2, 1}), {1});
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0, 0}), active_bits({1, 0, 0, 1, 0, 0}));
  const auto rows = probe->measure(input_at(120, net, runs, {0, 0, 0, 0, 0, 0}));
  CHECK(value(rows, 0, kLayer, "growth_precision") == 1);
  CHECK(value(rows, 0, kLayer, "growth_over_chance") == Approx(1));
  CHECK(value(rows, 0, kLayer, "growth_energy") == Approx(1));
}

TEST_CASE("realised gain: what knocking out the survivors of the grown would cost", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run()};
  ChainNet net = net_of({9, 8, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0});
  auto probe = probe_of(net, runs);
  probe->before_update(input_at(100, net, runs, {0, 0, 4, 3, 2, 1}), {1});
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0, 0}), active_bits({1, 0, 1, 0, 1, 0}),
         100);
  const auto resumed = probe_of(net, runs);
  for (const auto& [name, values] : probe->save(0)) resumed->load(0, name, values);
  // 4 has gone meanwhile; what it holds is outside of the sparse net.
  ChainNet later = net_of({9, 0, 0.5, 0, 0.25, 0}, {1, 0, 1, 0, 0, 0});
  for (Probe* each : {probe.get(), resumed.get()}) {
    each->before_update(input_at(200, later, runs, {0, 0, 0, 0, 0, 0}), {1});
    const auto rows = each->measure(input_at(200, later, runs, {0, 0, 0, 0, 0, 0}));
    CHECK(value(rows, 0, "weights", "realised_gain") == Approx(0.5));
    CHECK(step_of(rows, "weights", "realised_gain") == 200);
    CHECK(value(rows, 0, kLayer, "growth_precision") == 0.5);
  }
  CHECK(later.layer(0).weight.value.equal(doubles({9, 0, 0.5, 0, 0.25, 0}, {1, 1, 6})));
}

TEST_CASE("every third update is looked at, from the first on; rows keep their order", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run("3")};
  ChainNet net = net_of({9, 8, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0});
  auto probe = probe_of(net, runs);
  const ActiveSet a = active_bits({1, 1, 0, 0, 0, 0}), b = active_bits({1, 0, 1, 0, 0, 0});
  for (int u = 0; u < 40; ++u) {
    const bool even = u % 2 == 0;
    probe->before_update(input_at(10 * u, net, runs, {0, 1, 4, 3, 2, 1}), {1});
    update(*probe, 0, "layer0", even ? a : b, even ? b : a, 10 * u);
  }
  const auto resumed = probe_of(net, runs);
  for (const auto& [name, values] : probe->save(0)) resumed->load(0, name, values);
  const auto rows = probe->measure(input_at(400, net, runs, {0, 0, 0, 0, 0, 0}));
  CHECK(values_of(rows, 0, kLayer, "growth_precision").size() == 14);
  CHECK(values_of(rows, 0, "weights", "realised_gain").size() == 13);
  const auto expected = resumed->measure(input_at(400, net, runs, {0, 0, 0, 0, 0, 0}));
  REQUIRE(rows[0].size() == expected[0].size());
  for (std::size_t i = 0; i < rows[0].size(); ++i) {
    CHECK(rows[0][i].name == expected[0][i].name);
    CHECK(rows[0][i].step == expected[0][i].step);
    CHECK(rows[0][i].value == expected[0][i].value);
  }
}

// Born: {2,3} at the first update, {4} at the second, {5} at the third.
TEST_CASE("survival by birth: cohorts count for as long as they are seen", "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run("100")};
  ChainNet net = net_of({1, 1, 1, 1, 1, 1}, {1, 1, 0, 0, 0, 0});
  const auto probe = probe_of(net, runs);
  const std::vector<ActiveSet> masks = {
      active_bits({1, 1, 0, 0, 0, 0}), active_bits({1, 0, 1, 1, 0, 0}),
      active_bits({1, 0, 1, 0, 1, 0}), active_bits({1, 0, 1, 0, 0, 1})};
  for (std::size_t u = 0; u + 1 < masks.size(); ++u) {
    update(*probe, 0, "layer0", masks[u], masks[u + 1]);
  }
  const auto resumed = probe_of(net, runs);
  for (const auto& [name, values] : probe->save(0)) resumed->load(0, name, values);
  for (Probe* each : {probe.get(), resumed.get()}) {
    const auto rows = each->measure(input_at(9, net, runs, {0, 0, 0, 0, 0, 0}));
    // Of 3 seen for one update 1 lives, of 1 seen for a second 1.
    CHECK(value(rows, 0, kLayer, "growth_survival_1") == Approx(1.0 / 3));
    CHECK(value(rows, 0, kLayer, "growth_survival_2") == Approx(1.0 / 3));
    CHECK(value(rows, 0, "weights", "growth_survival_2") == Approx(1.0 / 3));
    CHECK_FALSE(has(rows, 0, kLayer, "growth_survival_4"));
    CHECK(value(rows, 0, kLayer, "growth_half_life") == 1);
    CHECK(value(rows, 0, "weights", "growth_half_life") == 1);
  }
  update(*resumed, 0, "layer0", masks[3], active_bits({1, 1, 1, 0, 0, 1}));
  const auto rows = resumed->measure(input_at(9, net, runs, {0, 0, 0, 0, 0, 0}));
  CHECK(value(rows, 0, kLayer, "growth_survival_1") == Approx(2.0 / 4));
}

// layer0 grows A = 1 ... 6 at the first update and B = 7 ... 10 at the second; after them live
//   A  6, 5, 3, 2, 1
//   B     4, 2, 2, 1
// By age, died of those at risk: (1 + 2) / (6 + 4), (2 + 0) / (5 + 2), (1 + 1) / (3 + 2), 1 / 2, so
// that the curve is .7, .5, .3, .15. layer1 grows 10 at the first update, of which 9 live on.
TEST_CASE("survival is a product over ages, and its half-life the first at 1/2 or below",
          "[unit]") {
  const std::vector<ReadoutRun> runs = {growing_run("100")};
  ChainNet net({torch::ones({1, 1, 11}, torch::kDouble), torch::ones({1, 11, 1}, torch::kDouble)},
               {at::Tensor(), at::Tensor()});
  const auto probe = probe_of(net, runs);
  const auto set_of = [](const std::vector<std::size_t>& active) {
    std::vector<std::uint8_t> flags(11, 0);
    for (const std::size_t i : active) flags[i] = 1;
    return active_bits(flags);
  };
  const std::vector<ActiveSet> masks = {set_of({0}),
                                        set_of({0, 1, 2, 3, 4, 5, 6}),
                                        set_of({0, 1, 2, 3, 4, 5, 7, 8, 9, 10}),
                                        set_of({0, 1, 2, 3, 7, 8}),
                                        set_of({0, 1, 2, 7, 8}),
                                        set_of({0, 1, 7})};
  const ActiveSet ten = set_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  const ActiveSet nine = set_of({1, 2, 3, 4, 5, 6, 7, 8, 9});
  for (std::size_t u = 0; u + 1 < masks.size(); ++u) {
    update(*probe, 0, "layer0", masks[u], masks[u + 1]);
    update(*probe, 0, "layer1", u == 0 ? masks[0] : (u == 1 ? ten : nine), u == 0 ? ten : nine);
  }
  const auto rows = probe->measure(input_at(9, net, runs, {0}));
  CHECK(value(rows, 0, kLayer, "growth_survival_1") == Approx(0.7));
  CHECK(value(rows, 0, kLayer, "growth_survival_2") == Approx(0.5));
  CHECK(value(rows, 0, kLayer, "growth_survival_4") == Approx(0.15));
  CHECK_FALSE(has(rows, 0, kLayer, "growth_survival_8"));
  CHECK(value(rows, 0, kLayer, "growth_half_life") == 2);
  CHECK(value(rows, 0, "weights/layer1", "growth_survival_4") == Approx(0.9));
  CHECK_FALSE(has(rows, 0, "weights/layer1", "growth_half_life"));
  // Of both: died 4 of 20, 2 of 16, 2 of 14, 1 of 11.
  CHECK(value(rows, 0, "weights", "growth_survival_2") == Approx(0.8 * 14 / 16));
  CHECK(value(rows, 0, "weights", "growth_survival_4") ==
        Approx(0.8 * 14 / 16 * 12 / 14 * 10 / 11));
  CHECK_FALSE(has(rows, 0, "weights", "growth_half_life"));
}

TEST_CASE("a method that never grows is not watched", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.5)};
  const auto probe = probes().at("probe", "regrowth")(runs);
  CHECK_FALSE(probe->watches_updates());
  CHECK_FALSE(probe->watches_before_updates());
}

}  // namespace tandem::test::probes_regrowth_unit
