// The dense gradient of losses that are linear in the outputs, so that it is written down, and its
// support over updates that are.
#include <algorithm>

#include "probes/dense_gradient.h"
#include "probes/support_memory.h"
#include "probes_fixture.h"

namespace tandem::test::probes_blind_spot_unit {

namespace {

const std::string kLayer = "weights/layer0";

// Part i's loss is the sum of pulls * outputs, its gradient x_i^T pulls.
ProbeInput linear_input(Model& model, const std::vector<ReadoutRun>& runs,
                        const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& pulls) {
  ProbeInput input = input_of(model, runs, x.front());
  input.training_parts = static_cast<std::int64_t>(x.size());
  input.training = [x, pulls](std::int64_t part) {
    const auto i = static_cast<std::size_t>(part);
    const at::Tensor pull = pulls[i % pulls.size()];
    return TrainingPart{x[i], [pull](const at::Tensor& logits) {
                          return at::Tensor((logits * pull).sum(-1).mean(1));
                        }};
  };
  return input;
}

std::unique_ptr<Probe> probe_of(Model& model, const std::vector<ReadoutRun>& runs) {
  auto probe = probes().at("probe", "blind_spot")(runs);
  probe->begin(model);
  return probe;
}

}  // namespace

// Gradients (1,2;2,4) and (3,6;4,8): mean (2,4;3,6).
TEST_CASE("missed energy and flow of two parts, too few for a noise", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.75)};
  ChainNet net({torch::ones({1, 2, 2}, torch::kDouble)}, {torch::tensor({1, 0, 1, 1})});
  const ProbeInput input = linear_input(
      net, runs, {doubles({1, 2}, {1, 1, 2}), doubles({3, 4}, {1, 1, 2})}, {doubles({1, 2}, {2})});
  const auto rows = probe_of(net, runs)->measure(input);
  CHECK(value(rows, 0, kLayer, "missed_energy") == Approx(16.0 / 65));
  CHECK(value(rows, 0, "weights", "missed_energy") == Approx(16.0 / 65));
  CHECK(value(rows, 0, kLayer, "egf") == Approx(7.0 / 3));
  CHECK_FALSE(has(rows, 0, kLayer, "gsnr"));
  CHECK_FALSE(has(rows, 0, kLayer, "gsnr_dormant"));
  CHECK_FALSE(has(rows, 0, kLayer, "gradient_overlap"));
  CHECK_FALSE(has(rows, 0, kLayer, "gradient_cosine"));
}

// x = (1, 2) through w0 = (1, 0; 0, 1) and w1 = (1, 0, 1; 0, 1, 1), pulls v = (1, 2, 3):
//   h = (1, 2), dL/dw1 = h v^T = (1, 2, 3; 2, 4, 6), w1 v = (4, 5), dL/dw0 = (4, 5; 8, 10)
TEST_CASE("of the whole net energies and shares are totals, flow a mean over layers", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.6)};
  const at::Tensor w0 = doubles({1, 0, 0, 1}, {1, 2, 2}),
                   w1 = doubles({1, 0, 1, 0, 1, 1}, {1, 2, 3});
  ChainNet net({w0, w1}, {w0.ne(0), w1.ne(0)});
  const auto rows = probe_of(net, runs)->measure(
      linear_input(net, runs, {doubles({1, 2}, {1, 1, 2})}, {doubles({1, 2, 3}, {3})}));
  CHECK(value(rows, 0, kLayer, "missed_energy") == Approx(89.0 / 205));
  CHECK(value(rows, 0, "weights/layer1", "missed_energy") == Approx(8.0 / 70));
  CHECK(value(rows, 0, "weights", "missed_energy") == Approx(97.0 / 275));
  CHECK(value(rows, 0, kLayer, "never_share") == Approx(2.0 / 4));
  CHECK(value(rows, 0, "weights/layer1", "never_share") == Approx(2.0 / 6));
  CHECK(value(rows, 0, "weights", "never_share") == Approx(4.0 / 10));
  const double first = std::sqrt(116.0) / 2, second = std::sqrt(62.0) / 4;
  CHECK(value(rows, 0, kLayer, "egf") == Approx(first));
  CHECK(value(rows, 0, "weights/layer1", "egf") == Approx(second));
  CHECK(value(rows, 0, "weights", "egf") == Approx((first + second) / 2));
}

// Four parts. Position 0: 1, 2, 3, 6, mean 3, s^2 = 14/3, (1/3) 27/14 - 1/4 = 11/28. Position 1,
// dormant: -1, 1, -1, 3, mean 1/2, s^2 = 11/3, (1/3) 3/44 - 1/4 = -5/22. Position 2 never varies.
TEST_CASE("signal to noise by hand, below zero where the mean is small", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(2.0 / 3)};
  ChainNet net({torch::ones({1, 1, 3}, torch::kDouble)}, {torch::tensor({1, 0, 1})});
  const at::Tensor one = torch::ones({1, 1, 1}, torch::kDouble);
  const auto rows = probe_of(net, runs)->measure(
      linear_input(net, runs, {one, one, one, one},
                   {doubles({1, -1, 2}, {3}), doubles({2, 1, 2}, {3}), doubles({3, -1, 2}, {3}),
                    doubles({6, 3, 2}, {3})}));
  CHECK(value(rows, 0, kLayer, "gsnr") == Approx((11.0 / 28 - 5.0 / 22) / 2));
  CHECK(value(rows, 0, kLayer, "gsnr_dormant") == Approx(-5.0 / 22));
}

// The variance of a noncentral F(1, 15) is 2 225 ((1 + l)^2 + 13 (1 + 2 l)) / (169 11): 3.39 at l =
// 0 and 174 at l = 16, so that an estimate of 16 parts, 13 / (15 16) of it, has a standard
// deviation of .10 without signal and of .71 where E[g]^2 = Var[g]; of a mean over 40,000 positions
// .0005 and .0036. The mean of mean^2 / s^2 would be 15 / 13 times 1/16 and 17/16: .072 and 1.23.
TEST_CASE("signal to noise of noise is zero, of a mean like the deviation one", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(1)};
  constexpr std::int64_t kPositions = 40000;
  ChainNet net({torch::ones({1, 1, kPositions}, torch::kDouble)}, {at::Tensor()});
  torch::manual_seed(1);
  std::vector<at::Tensor> noise, shifted;
  for (int part = 0; part < 16; ++part) {
    noise.push_back(3 * torch::randn({kPositions}, torch::kDouble));
    shifted.push_back(noise.back() + 3);
  }
  const std::vector<at::Tensor> x(16, torch::ones({1, 1, 1}, torch::kDouble));
  const auto none = probe_of(net, runs)->measure(linear_input(net, runs, x, noise));
  CHECK(value(none, 0, kLayer, "gsnr") == Approx(0).margin(0.002));
  const auto one = probe_of(net, runs)->measure(linear_input(net, runs, x, shifted));
  CHECK(value(one, 0, kLayer, "gsnr") == Approx(1).margin(0.015));
}

TEST_CASE("the gradient is that of the sparse net, at all positions, and touches nothing",
          "[unit]") {
  const std::vector<ReadoutRun> runs = {carrying_run(0.5)};
  const at::Tensor mask = torch::tensor({1, 0, 0, 1, 1, 0}).view({1, 6});
  const at::Tensor weight = doubles({0.5, 9, -9, 1, -0.5, 9}, {1, 2, 3});
  const at::Tensor x = doubles({1, -2, 3, 0.5}, {1, 2, 2});
  ChainNet net({weight}, {mask});
  const at::Tensor leaf = (weight * mask.view({1, 2, 3})).requires_grad_(true);
  const ProbeInput input = input_of(net, runs, x);
  const at::Tensor expected =
      torch::autograd::grad({input.loss(torch::bmm(x, leaf)).sum()}, {leaf})[0];
  const GradientMoments moments = gradient_moments(input, 64);
  CHECK(moments.parts == 1);
  CHECK(torch::allclose(moments.mean[0], expected.view({1, 6})));
  CHECK_FALSE(net.layer(0).weight.value.grad().defined());
  CHECK(net.layer(0).weight.value.equal(weight));
}

TEST_CASE("a dense net misses nothing, and has no age", "[unit]") {
  const std::vector<ReadoutRun> runs = {carrying_run(1)};
  ChainNet net({torch::ones({1, 2, 2}, torch::kDouble)}, {at::Tensor()});
  const auto rows = measure("blind_spot", net, runs, doubles({1, 2, 3, 5, 2, 2}, {1, 3, 2}));
  CHECK(value(rows, 0, kLayer, "missed_energy") == 0);
  CHECK(value(rows, 0, kLayer, "never_share") == 0);
  CHECK_FALSE(has(rows, 0, kLayer, "gradient_age_mean"));
  CHECK_FALSE(has(rows, 0, kLayer, "gsnr_dormant"));
}

// 20 of 30 active: the two largest of the dormant are compared.
TEST_CASE("staleness: overlap and cosine on what was dormant both times", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(20.0 / 30)};
  const auto net_with = [](const at::Tensor& mask) {
    return ChainNet({torch::zeros({1, 1, 30}, torch::kDouble)}, {mask});
  };
  at::Tensor mask = torch::zeros({30}, torch::kByte), pull = torch::zeros({30}, torch::kDouble);
  mask.slice(0, 0, 20).fill_(1);
  pull.fill_(7);
  pull.slice(0, 20, 30).copy_(torch::arange(10, 0, -1));  // the largest: 20, 21
  ChainNet net = net_with(mask);
  const at::Tensor x = torch::ones({1, 1, 1}, torch::kDouble);
  const auto probe = probe_of(net, runs);
  probe->measure(linear_input(net, runs, {x}, {pull}));
  const auto again = probes().at("probe", "blind_spot")(runs);
  for (const auto& [name, values] : probe->save(0)) again->load(0, name, values);

  at::Tensor later = pull.clone();
  later[20] = 0;
  later[22] = -20;  // the largest: 22, 21
  const auto rows = again->measure(linear_input(net, runs, {x}, {later}));
  CHECK(value(rows, 0, kLayer, "gradient_overlap") == Approx(0.5));
  const double kept = 9 * 9 + 7 * 7 + 6 * 6 + 5 * 5 + 4 * 4 + 3 * 3 + 2 * 2 + 1;
  CHECK(value(rows, 0, kLayer, "gradient_cosine") ==
        Approx((kept - 8 * 20) / std::sqrt((kept + 100 + 64) * (kept + 400))));

  // 20 is active meanwhile, 0 dormant: what is left of the first two is 21.
  mask[20] = 1;
  mask[0] = 0;
  pull[0] = 0;
  ChainNet moved = net_with(mask);
  const auto third = probe->measure(linear_input(moved, runs, {x}, {pull}));
  CHECK(value(third, 0, kLayer, "gradient_overlap") == 1);
  CHECK(value(third, 0, kLayer, "gradient_cosine") == Approx(1));
}

// 65,537 positions: every second one is remembered for the cosine, all are looked at for the
// overlap. Active 0 ... 19, so that the two largest of the dormant are compared: 21 and 23, then
// 21 and 25; of every second position they would be 20 and 65,536 both times.
TEST_CASE("staleness of a large layer: the cosine is of every second position", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(20.0 / 65537)};
  at::Tensor mask = torch::zeros({65537}, torch::kByte);
  mask.slice(0, 0, 20).fill_(1);
  ChainNet net({torch::zeros({1, 1, 65537}, torch::kDouble)}, {mask});
  const at::Tensor x = torch::ones({1, 1, 1}, torch::kDouble);
  const auto pull = [](double at20, double at21, double at23, double at25, double last) {
    at::Tensor all = torch::zeros({65537}, torch::kDouble);
    all[4] = 1000;
    all[20] = at20;
    all[21] = at21;
    all[23] = at23;
    all[25] = at25;
    all[65536] = last;
    return all;
  };
  const auto probe = probe_of(net, runs);
  probe->measure(linear_input(net, runs, {x}, {pull(3, 100, 50, 0, 4)}));
  const auto again = probes().at("probe", "blind_spot")(runs);
  for (const auto& [name, values] : probe->save(0)) again->load(0, name, values);
  for (Probe* each : {probe.get(), again.get()}) {
    const auto rows = each->measure(linear_input(net, runs, {x}, {pull(4, -100, 0, 50, 3)}));
    CHECK(value(rows, 0, kLayer, "gradient_cosine") == Approx(24.0 / 25));
    CHECK(value(rows, 0, kLayer, "gradient_overlap") == Approx(0.5));
  }
}

TEST_CASE("which positions were in a support, and how long ago", "[unit]") {
  SupportMemory memory;
  memory.start(active_bits({1, 1, 0, 0, 0, 0}));
  memory.change(active_bits({1, 0, 1, 0, 0, 0}), 10);  // 1 leaves
  memory.change(active_bits({0, 0, 1, 1, 0, 0}), 20);  // 0 leaves
  auto ages = memory.ages(6, 25, 0);
  CHECK(ages.never == 2);
  std::sort(ages.steps.begin(), ages.steps.end());
  CHECK(ages.steps == std::vector<std::int64_t>{5, 15});
  SupportMemory loaded;
  for (const auto& [what, values] : memory.save()) loaded.load(what, values);
  loaded.change(active_bits({0, 1, 1, 0, 0, 0}), 30);  // 1 comes back, 3 leaves
  ages = loaded.ages(6, 31, 0);
  CHECK(ages.never == 2);
  std::sort(ages.steps.begin(), ages.steps.end());
  CHECK(ages.steps == std::vector<std::int64_t>{1, 11});
  ages = loaded.ages(6, 31, 25);  // every position, at step 25
  CHECK(ages.never == 0);
  std::sort(ages.steps.begin(), ages.steps.end());
  CHECK(ages.steps == std::vector<std::int64_t>{1, 6, 6, 6});
}

TEST_CASE("ages and the share of those never reached, in rows", "[unit]") {
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.5)};
  ChainNet net({torch::ones({1, 2, 4}, torch::kDouble)}, {torch::tensor({0, 0, 0, 1, 1, 0, 0, 0})});
  ChainNet start({torch::ones({1, 2, 4}, torch::kDouble)},
                 {torch::tensor({1, 1, 1, 0, 0, 0, 0, 0})});
  const auto probe = probe_of(start, runs);
  CHECK(probe->watches_updates());
  CHECK_FALSE(probe->watches_before_updates());
  update(*probe, 0, "layer0", active_bits({1, 1, 1, 0, 0, 0, 0, 0}),
         active_bits({1, 1, 0, 1, 0, 0, 0, 0}), 10);
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 1, 0, 0, 0, 0}),
         active_bits({0, 0, 0, 1, 1, 0, 0, 0}), 30);
  ProbeInput input = input_of(net, runs, doubles({1, 2}, {1, 1, 2}));
  input.step = {40};
  auto rows = probe->measure(input);
  CHECK(value(rows, 0, kLayer, "never_share") == Approx(3.0 / 8));
  CHECK(value(rows, 0, "weights", "never_share") == Approx(3.0 / 8));
  CHECK(value(rows, 0, kLayer, "gradient_age_mean") == Approx(50.0 / 3));  // 10, 10, 30
  CHECK(value(rows, 0, kLayer, "gradient_age_median") == 10);
  input.last_dense_step = [](std::int64_t, std::size_t) { return std::int64_t{38}; };
  rows = probe->measure(input);
  CHECK(value(rows, 0, kLayer, "never_share") == 0);
  CHECK(value(rows, 0, kLayer, "gradient_age_mean") == 2);
  input.wanted = {0};
  CHECK(probe->measure(input)[0].empty());
}

TEST_CASE("with a superset the support is the superset, seen before it changes", "[unit]") {
  ReadoutRun run = carrying_run(0.25, false);
  run.policies.weights.sets.gradient = run.policies.weights.sets.update = Support::kSuperset;
  run.policies.weights.sets.superset = 0.5;
  const std::vector<ReadoutRun> runs = {run};
  ChainNet net({doubles({4, 3, 2, 1}, {1, 2, 2})}, {torch::tensor({1, 0, 0, 0})});
  Connections& connections = *net.layer(0).connections;
  connections.choose_superset({{1}, {2}, {0}}, /*random=*/false, /*outside_zero=*/false);  // 0, 1
  const auto probe = probe_of(net, runs);
  CHECK(probe->watches_before_updates());
  ProbeInput input = input_of(net, runs, doubles({1, 2}, {1, 1, 2}));
  input.step = {10};
  probe->before_update(input, {1});
  net.layer(0).weight.value.detach().copy_(doubles({4, 1, 3, 1}, {1, 2, 2}));
  connections.choose_superset({{1}, {2}, {0}}, /*random=*/false, /*outside_zero=*/false);  // 0, 2
  update(*probe, 0, "layer0", active_bits({1, 0, 0, 0}), active_bits({1, 0, 0, 0}), 10);
  input.step = {14};
  const auto rows = probe->measure(input);
  CHECK(value(rows, 0, kLayer, "never_share") == Approx(0.25));
  CHECK(value(rows, 0, kLayer, "gradient_age_mean") == 4);
}

}  // namespace tandem::test::probes_blind_spot_unit
