// Features that are written down, and heads that know them or have forgotten.
#include "probes_fixture.h"

namespace tandem::test::probes_linear_probe_unit {

namespace {

struct Case {
  at::Tensor features;  // [R,N,H], never negative
  at::Tensor head;      // [R,H,C]
  at::Tensor target;    // [R,N]
  std::vector<std::vector<std::int64_t>> tasks = {};
  std::int64_t task = 1;
  at::Tensor allowed = {};
};

Measurements of_features(const Case& given) {
  const std::int64_t replicas = given.features.size(0), width = given.features.size(2);
  ChainNet net({torch::eye(width, torch::kDouble).expand({replicas, width, width}), given.head},
               {at::Tensor(), at::Tensor()});
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(replicas), carrying_run(1));
  ProbeInput input = input_of(net, runs, given.features);
  input.target = given.target;
  if (!given.tasks.empty()) input.tasks = [&given] { return given.tasks; };
  input.task = given.task;
  input.outputs_allowed = given.allowed;
  return probes().at("probe", "linear_probe")(runs)->measure(input);
}

at::Tensor integers(const std::vector<std::int64_t>& values, at::IntArrayRef shape) {
  return torch::tensor(values, torch::kLong).view(shape);
}

}  // namespace

TEST_CASE("features that tell classes apart under a head that says the opposite", "[unit]") {
  // Far from the origin, so that a classifier without an intercept would not do.
  const at::Tensor x = doubles({101, 100, 101, 100, 100, 101, 100, 101}, {1, 4, 2});
  const auto rows =
      of_features({x, doubles({0, 1, 1, 0}, {1, 2, 2}), integers({0, 0, 1, 1}, {1, 4})});
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == 1);
  CHECK(value(rows, 0, "", "head_accuracy") == 0);
}

TEST_CASE("what is scored was not fitted", "[unit]") {
  // The second of each pair lies where the other class was fitted.
  const at::Tensor x = doubles({1, 0, 0, 1, 0, 1, 1, 0}, {1, 4, 2});
  const auto rows =
      of_features({x, doubles({1, 0, 0, 1}, {1, 2, 2}), integers({0, 0, 1, 1}, {1, 4})});
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == 0);
  CHECK(value(rows, 0, "", "head_accuracy") == 0);
}

TEST_CASE("features that stand still give the most frequent class", "[unit]") {
  const at::Tensor x = torch::ones({1, 6, 3}, torch::kDouble);
  const auto rows = of_features(
      {x, torch::zeros({1, 3, 2}, torch::kDouble), integers({1, 1, 1, 0, 0, 1}, {1, 6})});
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == Approx(2.0 / 3));
  CHECK(value(rows, 0, "", "head_accuracy") == Approx(1.0 / 3));
}

TEST_CASE("the ridge decides on which side of the middle a point lies", "[unit]") {
  // Fitted: class 0 at 0 and at 3, class 1 at 4. Centred x = (-7,2,5)/3 and y_1 = (-1,-1,2)/3, so
  // that X'X = 78/9 and X'Y_1 = 15/9; lambda is .001 78/9, and the slope s = 15 / (78 1.001) =
  // .192115. Class 1 begins where s (x - 7/3) + 1/3 = 1/2, at x = 3.200867; without a ridge it
  // would begin at 3.2.
  const auto right = [](double at) {
    const at::Tensor x = doubles({0, 9, 3, 9, 4, at}, {1, 6, 1});
    const auto rows = of_features(
        {x, torch::zeros({1, 1, 2}, torch::kDouble), integers({0, 1, 0, 1, 1, 1}, {1, 6})});
    return value(rows, 0, "", "linear_probe_accuracy");
  };
  CHECK(right(3.2008) == Approx(2.0 / 3));
  CHECK(right(3.2010) == 1);
}

TEST_CASE("one classifier for all tasks so far, and the mean over tasks", "[unit]") {
  // Task 1 has the classes 0 and 1, task 2 class 2, which is fitted where both examples of task 1
  // are scored; task 3 comes later.
  const at::Tensor x = doubles({0, 0, 9, 9, 0, 9, 9, 9, 9, 9, 9, 9, 5, 5, 5, 5}, {1, 8, 2});
  Case given{x,
             torch::zeros({1, 2, 4}, torch::kDouble),
             integers({0, 0, 1, 1, 2, 2, 3, 3}, {1, 8}),
             {{1, 1, 1, 1, 2, 2, 3, 3}},
             2};
  auto rows = of_features(given);
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == Approx(0.5));
  CHECK(value(rows, 0, "", "head_accuracy") == Approx(0.25));
  // With heads of their own each task has a classifier among its own outputs.
  at::Tensor allowed = torch::zeros({1, 8, 4}, torch::kBool);
  allowed.slice(1, 0, 4).slice(2, 0, 2).fill_(true);
  allowed.slice(1, 4, 6).slice(2, 2, 3).fill_(true);
  allowed.slice(1, 6, 8).slice(2, 3, 4).fill_(true);
  given.allowed = allowed;
  rows = of_features(given);
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == Approx((0.5 + 1) / 2));
  CHECK(value(rows, 0, "", "head_accuracy") == Approx((0.5 + 1) / 2));
}

TEST_CASE("more features than examples, and a task too small to halve", "[unit]") {
  const at::Tensor x =
      doubles({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1}, {1, 5, 4});
  const auto rows = of_features({x.index_select(1, integers({0, 0, 1, 1, 4}, {5})),
                                 torch::zeros({1, 4, 3}, torch::kDouble),
                                 integers({2, 2, 1, 1, 0}, {1, 5}),
                                 {{1, 1, 1, 1, 2}},
                                 2});
  CHECK(value(rows, 0, "", "linear_probe_accuracy") == 1);
  CHECK(value(rows, 0, "", "head_accuracy") == 0);
}

}  // namespace tandem::test::probes_linear_probe_unit
