// Gradients of tasks that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_interference_unit {

namespace {

// One layer [R,in,1], whose output is the loss, so that a task's gradient is its mean input.
Measurements of_gradients(const at::Tensor& x, const std::vector<std::vector<std::int64_t>>& tasks,
                          std::int64_t task, const at::Tensor& mask = {}, double density = 1,
                          bool task_nets = false) {
  const at::Tensor weight = torch::ones({x.size(0), x.size(2), 1}, torch::kDouble);
  ChainNet net({weight}, {mask});
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(x.size(0)),
                                     zero_dormant_run(density));
  ProbeInput input = input_of(net, runs, x);
  input.tasks = [&tasks] { return tasks; };
  input.task = task;
  input.task_nets = task_nets;
  input.shared_loss = [](const at::Tensor& logits, const at::Tensor& share) {
    return at::Tensor((logits.squeeze(-1) * share).sum(1));
  };
  return probes().at("probe", "interference")(runs)->measure(input);
}

}  // namespace

TEST_CASE("gradients (1,0) and (-1,1) disagree", "[unit]") {
  const auto rows = of_gradients(doubles({1, 0, -1, 1}, {1, 2, 2}), {{1, 2}}, 2);
  CHECK(value(rows, 0, "weights", "task_gradient_cosine") ==
        Approx(-std::sqrt(0.5)).epsilon(1e-12));
  CHECK(value(rows, 0, "weights", "task_conflict") == 1);
}

TEST_CASE("the mean is over pairs of tasks so far, and of each task over its examples", "[unit]") {
  // Task 1: mean of (2,0), (0,2) and (1,1); task 2: (0,1); task 3: (0,-3); task 4 comes later.
  const at::Tensor x = doubles({2, 0, 0, 2, 0, 1, 0, -3, 9, 9, 1, 1}, {1, 6, 2});
  const auto rows = of_gradients(x, {{1, 1, 2, 3, 4, 1}}, 3);
  const double half = std::sqrt(0.5);
  CHECK(value(rows, 0, "weights", "task_gradient_cosine") ==
        Approx((half - half - 1) / 3).epsilon(1e-12));
  CHECK(value(rows, 0, "weights", "task_conflict") == Approx(2.0 / 3));
}

TEST_CASE("among active weights alone tasks may agree, and replicas differ", "[unit]") {
  const at::Tensor x = doubles({1, 1, 1, 1, -2, 1, 1, 1, 1, 1, -2, 1}, {2, 2, 3});
  const at::Tensor mask = torch::tensor({1, 0, 1, 0, 1, 1}, torch::kByte).view({2, 3});
  const auto rows = of_gradients(x, {{1, 2}, {1, 2}}, 2, mask, 0.7);
  for (std::size_t r = 0; r < 2; ++r) {
    CHECK(value(rows, r, "weights", "task_gradient_cosine") == Approx(0).margin(1e-15));
  }
  CHECK(value(rows, 0, "weights", "task_gradient_cosine_active") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 0, "weights", "task_conflict_active") == 0);
  // (1,1) and (-2,1).
  CHECK(value(rows, 1, "weights", "task_gradient_cosine_active") ==
        Approx(-1 / std::sqrt(10.0)).epsilon(1e-12));
  CHECK(value(rows, 1, "weights", "task_conflict_active") == 1);
}

TEST_CASE("one task, a gradient of zero and nets of tasks have no cosine", "[unit]") {
  const at::Tensor x = doubles({1, 0, -1, 1}, {1, 2, 2});
  CHECK(of_gradients(x, {{1, 2}}, 1).at(0).empty());
  CHECK(of_gradients(x, {}, 2).at(0).empty());
  CHECK(of_gradients(x, {{1, 2}}, 2, {}, 1, /*task_nets=*/true).at(0).empty());
  CHECK(of_gradients(doubles({0, 0, -1, 1}, {1, 2, 2}), {{1, 2}}, 2).at(0).empty());
}

}  // namespace tandem::test::probes_interference_unit
