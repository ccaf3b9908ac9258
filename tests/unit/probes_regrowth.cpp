// Growth against an oracle whose gradient is written down, and survival by birth.
#include <optional>

#include "probes_fixture.h"

using namespace tandem;

namespace {

const std::string kLayer = "weights/layer0";

ProbeRun growing_run(const std::string& every = "1") {
  ProbeRun run = zero_dormant_run(0.5);
  run.config = Config::resolve({{"probe_updates", every}});
  run.weights.topology.operations = {{TopologyOperation::Kind::kDrop, "magnitude"},
                                     {TopologyOperation::Kind::kGrow, "gradient"}};
  return run;
}

std::unique_ptr<Probe> probe_of(Model& model, const std::vector<ProbeRun>& runs) {
  auto probe = probes().at("probe", "regrowth")(runs);
  probe->begin(model);
  return probe;
}

// One input of value 1 and six outputs; the training loss pulls with `pulls`, the validation loss
// is minus the sum of the outputs.
ChainNet net_of(const std::vector<double>& weights, const std::vector<std::uint8_t>& mask) {
  const auto outputs = static_cast<std::int64_t>(weights.size());
  return ChainNet({doubles(weights, {1, 1, outputs})}, {torch::tensor(mask, torch::kByte)});
}

ProbeInput input_at(std::int64_t step, Model& model, const std::vector<ProbeRun>& runs,
                    const std::vector<double>& pulls) {
  const auto outputs = static_cast<std::int64_t>(pulls.size());
  ProbeInput input = input_of(model, runs, torch::ones({1, 1, 1}, torch::kDouble));
  input.loss = [](const at::Tensor& logits) { return at::Tensor(-logits.sum(-1).mean(1)); };
  input.training = [pull = doubles(pulls, {outputs})](std::int64_t) {
    return TrainingPart{torch::ones({1, 1, 1}, torch::kDouble), [pull](const at::Tensor& logits) {
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
  const std::vector<ProbeRun> runs = {growing_run()};
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
    CHECK(step_of(rows, layer, "growth_precision") == 100);
  }
  CHECK_FALSE(has(rows, 0, "weights", "realised_gain"));
  CHECK(probe->measure(input_at(130, net, runs, {0, 0, 0, 0, 0, 0}))[0].empty());
}

TEST_CASE("growth by the oracle itself is perfect, and over chance", "[unit]") {
  const std::vector<ProbeRun> runs = {growing_run()};
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
  const std::vector<ProbeRun> runs = {growing_run()};
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
  const std::vector<ProbeRun> runs = {growing_run("3")};
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
  const std::vector<ProbeRun> runs = {growing_run("100")};
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
  }
  update(*resumed, 0, "layer0", masks[3], active_bits({1, 1, 1, 0, 0, 1}));
  const auto rows = resumed->measure(input_at(9, net, runs, {0, 0, 0, 0, 0, 0}));
  CHECK(value(rows, 0, kLayer, "growth_survival_1") == Approx(2.0 / 4));
}

TEST_CASE("a method that never grows is not watched", "[unit]") {
  const std::vector<ProbeRun> runs = {zero_dormant_run(0.5)};
  const auto probe = probes().at("probe", "regrowth")(runs);
  CHECK_FALSE(probe->watches_updates());
  CHECK_FALSE(probe->watches_before_updates());
}
