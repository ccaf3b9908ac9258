// Predictions that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_calibration_unit {

namespace {

struct Case {
  at::Tensor probabilities;                      // [R,N,C]
  at::Tensor target;                             // [R,N]
  std::vector<std::vector<std::int64_t>> tasks;  // empty: one task
  std::int64_t task = 1;
  std::vector<std::vector<std::int64_t>> task_of_output = {};
  at::Tensor allowed = {};
};

Measurements of_predictions(const Case& given, bool task_nets = false) {
  const std::int64_t replicas = given.target.size(0), classes = given.probabilities.size(2);
  ChainNet net({torch::eye(classes, torch::kDouble).expand({replicas, classes, classes})},
               {at::Tensor()});
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(replicas), carrying_run(1));
  ProbeInput input = input_of(net, runs, given.probabilities.clamp_min(1e-300).log());
  input.target = given.target;
  if (!given.tasks.empty()) input.tasks = [&given] { return given.tasks; };
  input.task = given.task;
  input.task_of_output = given.task_of_output;
  input.outputs_allowed = given.allowed;
  input.task_nets = task_nets;
  return probes().at("probe", "calibration")(runs)->measure(input);
}

at::Tensor integers(const std::vector<std::int64_t>& values, at::IntArrayRef shape) {
  return torch::tensor(values, torch::kLong).view(shape);
}

}  // namespace

TEST_CASE("confidence in two bins against what came true", "[unit]") {
  // Bin of .9: one of two right; bin of .6: right. (2 |.5 - .9| + |1 - .6|) / 3.
  const Case given{doubles({.9, .1, .1, .9, .6, .4}, {1, 3, 2}), integers({0, 0, 0}, {1, 3}), {}};
  const auto rows = of_predictions(given);
  CHECK(value(rows, 0, "", "ece") == Approx(1.2 / 3).epsilon(1e-12));
  CHECK_FALSE(has(rows, 0, "", "recency_bias"));
}

TEST_CASE("within a bin over- and underconfidence cancel, across bins they don't", "[unit]") {
  // .81 and .86 share the bin (12/15, 13/15]; .79 is in the one below.
  const auto error = [](double a, double b) {
    const Case given{doubles({a, 1 - a, b, 1 - b}, {1, 2, 2}), integers({0, 1}, {1, 2}), {}};
    return value(of_predictions(given), 0, "", "ece");
  };
  CHECK(error(0.81, 0.86) == Approx((0.86 - 0.19) / 2).epsilon(1e-12));
  CHECK(error(0.79, 0.86) == Approx((0.21 + 0.86) / 2).epsilon(1e-12));
}

TEST_CASE("a certain and right net is calibrated", "[unit]") {
  const Case given{doubles({1, 0, 0, 1}, {2, 1, 2}), integers({0, 0}, {2, 1}), {}};
  const auto rows = of_predictions(given);
  CHECK(value(rows, 0, "", "ece") == 0);
  CHECK(value(rows, 1, "", "ece") == 1);
}

TEST_CASE("a head that favours the latest of two tasks", "[unit]") {
  // Outputs 0, 1 are of task 1, outputs 2, 3 of task 2. Of five examples so far two are of task 2,
  // and four are predicted to be; the sixth is of a task to come.
  const at::Tensor certain =
      torch::one_hot(integers({2, 0, 3, 2, 3, 0}, {1, 6}), 4).to(torch::kDouble);
  Case given{
      certain, integers({0, 0, 1, 2, 3, 0}, {1, 6}), {{1, 1, 1, 2, 2, 3}}, 2, {{1, 1, 2, 2}}};
  const auto rows = of_predictions(given);
  CHECK(value(rows, 0, "", "recency_bias") == Approx(0.8 - 0.4).epsilon(1e-12));
  CHECK(value(rows, 0, "", "ece") == Approx(2.0 / 5).epsilon(1e-12));
  CHECK_FALSE(has(of_predictions(given, /*task_nets=*/true), 0, "", "recency_bias"));
  given.task = 1;
  CHECK_FALSE(has(of_predictions(given), 0, "", "recency_bias"));
}

TEST_CASE("outputs of other tasks take no part where each task has its own head", "[unit]") {
  // Of the two allowed outputs .3 and .1: .75.
  Case given{doubles({.3, .1, .6, .2, .2, .6}, {1, 2, 3}),
             integers({0, 2}, {1, 2}),
             {{1, 2}},
             2,
             {{1, 1, 2}}};
  given.allowed = torch::tensor({1, 1, 0, 0, 0, 1}).view({1, 2, 3}).to(torch::kBool);
  const auto rows = of_predictions(given);
  CHECK(value(rows, 0, "", "ece") == Approx(0.25 / 2).epsilon(1e-12));
  CHECK_FALSE(has(rows, 0, "", "recency_bias"));
  // The same where a net of the task tells which outputs are meant.
  given.allowed = at::Tensor();
  CHECK(value(of_predictions(given, /*task_nets=*/true), 0, "", "ece") ==
        Approx(0.25 / 2).epsilon(1e-12));
}

}  // namespace tandem::test::probes_calibration_unit
