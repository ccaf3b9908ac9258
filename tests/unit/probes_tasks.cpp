// What tasks share of activations that are written down.
#include "nn/elementwise.h"
#include "probes_fixture.h"

namespace tandem::test::probes_tasks_unit {

namespace {

// Hidden units that show the inputs as they are.
ChainNet mirror(std::int64_t replicas, std::int64_t width) {
  const at::Tensor eye = torch::eye(width, torch::kDouble).expand({replicas, width, width});
  return ChainNet({eye, torch::ones({replicas, width, 2}, torch::kDouble)},
                  {at::Tensor(), at::Tensor()});
}

Measurements of_tasks(ChainNet& net, const at::Tensor& x,
                      const std::vector<std::vector<std::int64_t>>& task) {
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(x.size(0)), carrying_run(1));
  const auto probe = probes().at("probe", "tasks")(runs);
  probe->begin(net);
  ProbeInput input = input_of(net, runs, x);
  input.tasks = [&task] { return task; };
  return probe->measure(input);
}

}  // namespace

TEST_CASE("tasks that vary along other, the same and half the same directions", "[unit]") {
  // Two examples of each task; replica by replica the second task moves along (0,1), (1,0), (1,1).
  const at::Tensor x = doubles({4, 5, 6, 5, 5, 4, 5, 6,   //
                                4, 5, 6, 5, 2, 5, 8, 5,   //
                                4, 5, 6, 5, 4, 4, 6, 6},  //
                               {3, 4, 2});
  ChainNet net = mirror(3, 2);
  const auto rows = of_tasks(net, x, {{1, 1, 2, 2}, {1, 1, 2, 2}, {2, 2, 1, 1}});
  CHECK(value(rows, 0, "layer0", "task_overlap") == Approx(0).margin(1e-15));
  CHECK(value(rows, 1, "layer0", "task_overlap") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 2, "layer0", "task_overlap") == Approx(0.5).epsilon(1e-12));
  // The means are (5,5) everywhere.
  for (std::size_t r = 0; r < 3; ++r) {
    CHECK(value(rows, r, "layer0", "task_cosine") == Approx(1).epsilon(1e-12));
  }
  CHECK(value(rows, 0, "", "task_overlap") == value(rows, 0, "layer0", "task_overlap"));
}

TEST_CASE("sets of units of three tasks, pair by pair", "[unit]") {
  // Means by task: (4,0,0,0), (4,4,0,0), (0,0,0,4); the layer's mean is 16 / 12.
  const at::Tensor x = doubles({4, 0, 0, 0, 4, 0, 0, 0,  //
                                4, 4, 0, 0, 4, 4, 0, 0,  //
                                0, 0, 0, 4, 0, 0, 0, 4},
                               {1, 6, 4});
  ChainNet net = mirror(1, 4);
  const auto rows = of_tasks(net, x, {{1, 1, 2, 2, 3, 3}});
  // {0}, {0,1}, {3}: 1/2, 0, 0.
  CHECK(value(rows, 0, "layer0", "task_iou") == Approx(0.5 / 3).epsilon(1e-12));
  // Sizes 1, 2, 1 of 4: pairs .25 and .5, .25 and .25, .5 and .25.
  const double apart = 0.125 / 0.625, alike = 0.0625 / 0.4375;
  CHECK(value(rows, 0, "layer0", "task_iou_chance") ==
        Approx((2 * apart + alike) / 3).epsilon(1e-12));
  CHECK(value(rows, 0, "layer0", "task_cosine") == Approx(std::sqrt(0.5) / 3).epsilon(1e-12));
  // Nothing varies within a task.
  CHECK_FALSE(has(rows, 0, "layer0", "task_overlap"));
}

TEST_CASE("units that a task leaves dead, and what the others do, task by task", "[unit]") {
  // Task 1 activates unit 0 once of two, task 2 the units 0 and 1 always; task 3 comes later, and
  // unit 3 is never active.
  const at::Tensor x = doubles({3, 0, 0, 0, 0, 0, 0, 0,  //
                                1, 4, 0, 0, 2, 4, 0, 0,  //
                                1, 1, 1, 0, 1, 1, 1, 0},
                               {1, 6, 4});
  ChainNet net = mirror(1, 4);
  const std::vector<ReadoutRun> runs = {carrying_run(1)};
  ProbeInput input = input_of(net, runs, x);
  input.tasks = [] { return std::vector<std::vector<std::int64_t>>{{1, 1, 2, 2, 3, 3}}; };
  input.task = 2;
  const auto rows = probes().at("probe", "tasks")(runs)->measure(input);
  CHECK(value(rows, 0, "layer0", "task_dead_units") == Approx((3 + 2) / 2.0));
  CHECK(value(rows, 0, "layer0", "task_live_l0") == Approx((0.5 + 1) / 2));
  CHECK(value(rows, 0, "", "task_dead_units") == Approx(2.5));
}

TEST_CASE("a run of one task has nothing between tasks", "[unit]") {
  ChainNet net = mirror(1, 2);
  CHECK(of_tasks(net, doubles({1, 2, 3, 4}, {1, 2, 2}), {}).at(0).empty());
  // Of several tasks the batch has one.
  const auto rows = of_tasks(net, doubles({1, 2, 3, 4}, {1, 2, 2}), {{1, 1}});
  for (const char* name : {"task_overlap", "task_cosine", "task_iou", "task_iou_chance"}) {
    CHECK_FALSE(has(rows, 0, "layer0", name));
  }
  CHECK(value(rows, 0, "layer0", "task_dead_units") == 0);
}

TEST_CASE("winners are the largest of a row, and gradients go to them alone", "[unit]") {
  const at::Tensor x = doubles({3, 1, 2, 0, 5, 5, 1, 4}, {1, 2, 4}).requires_grad_(true);
  const at::Tensor two = winners(x, 2);
  CHECK(torch::equal(two.detach(), doubles({3, 0, 2, 0, 5, 5, 0, 0}, {1, 2, 4})));
  two.sum().backward();
  CHECK(torch::equal(x.grad(), doubles({1, 0, 1, 0, 1, 1, 0, 0}, {1, 2, 4})));
  CHECK(torch::equal(winners(x.detach(), 9), x.detach()));
  CHECK(torch::equal(winners(x.detach(), 1)[0][0], doubles({3, 0, 0, 0}, {4})));
}

}  // namespace tandem::test::probes_tasks_unit
