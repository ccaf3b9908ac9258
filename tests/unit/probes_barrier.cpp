// What lies between nets whose loss is a polynomial of one weight.
#include "core/error.h"
#include "probes_fixture.h"

namespace tandem::test::probes_barrier_unit {

namespace {

const std::vector<ReadoutRun> kTrainsAll = {carrying_run(1)};

std::unique_ptr<Probe> barrier(const std::vector<ReadoutRun>& runs = kTrainsAll) {
  return probes().at("probe", "barrier")(runs);
}

// One layer of one input; an example's loss is (y^2 - 1)^2 of the sum y of its outputs.
Measurements look(Probe& probe, const at::Tensor& weight, std::int64_t task, bool ends,
                  const at::Tensor& mask = {}, const std::vector<ReadoutRun>& runs = kTrainsAll) {
  ChainNet net({weight}, {mask});
  // Examples of the tasks 1, 2 and 3 are 1, 1/2 and 100.
  const at::Tensor x = doubles({1, 0.5, 100}, {1, 3, 1}).expand({weight.size(0), 3, 1});
  ProbeInput input = input_of(net, runs, x);
  input.tasks = [&] { return std::vector<std::vector<std::int64_t>>(runs.size(), {1, 2, 3}); };
  input.task = task;
  input.task_ends = ends;
  input.shared_loss = [](const at::Tensor& logits, const at::Tensor& share) {
    return at::Tensor(((logits.sum(-1).square() - 1).square() * share).sum(1));
  };
  return probe.measure(input);
}

at::Tensor weight_of(double w) { return doubles({w}, {1, 1, 1}); }

}  // namespace

TEST_CASE("between two minima lies a hill, at its top in the middle", "[unit]") {
  const auto probe = barrier();
  const auto first = look(*probe, weight_of(-1), 1, true);
  CHECK_FALSE(has(first, 0, "weights", "loss_barrier"));
  CHECK(value(first, 0, "weights", "weight_norm") == 1);
  // Task 1 alone, before which there is none: L(-1) = L(1) = 0 and L(0) = 1.
  const auto rows = look(*probe, weight_of(1), 1, false);
  CHECK(value(rows, 0, "weights", "loss_barrier") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 0, "weights", "weight_change") == Approx(2).epsilon(1e-12));
  CHECK_FALSE(has(rows, 0, "weights", "loss_barrier_earlier"));
  // With task 2, whose y is w / 2: the ends are at (9/16 + 0) / 2 and the middle at 1.
  const auto second = look(*probe, weight_of(1), 2, true);
  CHECK(value(second, 0, "weights", "loss_barrier") == Approx(1 - 9.0 / 32).epsilon(1e-12));
  CHECK(value(second, 0, "weights", "loss_barrier_earlier") == Approx(1).epsilon(1e-12));
  // Now from 1 on.
  CHECK(value(look(*probe, weight_of(1), 2, false), 0, "weights", "loss_barrier") == 0);
}

TEST_CASE("a way that is nowhere above its chord has no barrier", "[unit]") {
  const auto probe = barrier();
  look(*probe, weight_of(1), 1, true);
  CHECK(value(look(*probe, weight_of(3), 1, false), 0, "weights", "loss_barrier") == 0);
  // From 1 to -1.5 the chord is 25/16 t; of the eleven points t = .3 with w = .25 is the highest
  // above it, higher than the hill's top at t = .4.
  CHECK(value(look(*probe, weight_of(-1.5), 1, false), 0, "weights", "loss_barrier") ==
        Approx(225.0 / 256 - 0.3 * 25 / 16).epsilon(1e-12));
}

TEST_CASE("a net is what the trained stream computes with, and ways lead over both masks",
          "[unit]") {
  // Dormant weights hold 7, which nobody reads: from (1,0) to (0,-1).
  const auto flags = [](int a, int b) { return torch::tensor({a, b}, torch::kByte).view({1, 2}); };
  const std::vector<ReadoutRun> sparse = {carrying_run(0.5, /*trains_full=*/false)};
  const auto straight = barrier(sparse);
  look(*straight, doubles({1, 7}, {1, 1, 2}), 1, true, flags(1, 0), sparse);
  const auto resumed = barrier(sparse);
  for (const auto& [name, values] : straight->save_tensors(0)) {
    resumed->load_tensor(0, name, values);
  }
  for (Probe* probe : {straight.get(), resumed.get()}) {
    const auto rows = look(*probe, doubles({7, -1}, {1, 1, 2}), 1, false, flags(0, 1), sparse);
    CHECK(value(rows, 0, "weights", "loss_barrier") == Approx(1).epsilon(1e-12));
    CHECK(value(rows, 0, "weights", "weight_change") == Approx(std::sqrt(2.0)).epsilon(1e-12));
    CHECK(value(rows, 0, "weights", "weight_norm") == 1);
  }
  resumed->load_tensor(0, "layer0.weight", weight_of(1));
  CHECK_THROWS_AS(look(*resumed, doubles({7, -1}, {1, 1, 2}), 1, false, flags(0, 1), sparse),
                  StoreError);
}

TEST_CASE("replicas have ends and barriers of their own, and weights stay", "[unit]") {
  const std::vector<ReadoutRun> runs(2, carrying_run(1));
  const auto probe = barrier(runs);
  look(*probe, doubles({-1, 1}, {2, 1, 1}), 1, true, {}, runs);
  ChainNet net({doubles({1, 3}, {2, 1, 1})}, {at::Tensor()});
  ProbeInput input = input_of(net, runs, torch::ones({2, 1, 1}, torch::kDouble));
  input.tasks = [] { return std::vector<std::vector<std::int64_t>>{{1}, {1}}; };
  input.shared_loss = [](const at::Tensor& logits, const at::Tensor& share) {
    return at::Tensor(((logits.sum(-1).square() - 1).square() * share).sum(1));
  };
  const auto rows = probe->measure(input);
  CHECK(value(rows, 0, "weights", "loss_barrier") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 1, "weights", "loss_barrier") == 0);
  CHECK(torch::equal(net.layer(0).weight.value, doubles({1, 3}, {2, 1, 1})));
  input.task_nets = true;
  CHECK(probe->measure(input).at(0).empty());
}

}  // namespace tandem::test::probes_barrier_unit
