// Schedules as pure functions of the step.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "train/plan.h"

using namespace tandem;
using namespace tandem::test;

namespace {

RunSchedule schedule_of(const Settings& said, std::vector<std::int64_t> examples = {320}) {
  const Config config = small_run(said);
  return {config, policies_of(config, Level::kAttention), policies_of(config, Level::kWeights),
          make_timeline(config, examples)};
}

std::vector<std::int64_t> updates_of(const RunSchedule& run, bool instead) {
  std::vector<std::int64_t> at;
  for (std::size_t stage = 0; stage < run.timeline.task_steps.size(); ++stage) {
    for (std::int64_t s = 0; s < run.timeline.task_steps[stage]; ++s) {
      const ReplicaPlan plan = plan_replica(run, static_cast<std::int64_t>(stage), s);
      if (instead ? plan.update_instead : plan.update_after) at.push_back(plan.step);
    }
  }
  return at;
}

}  // namespace

TEST_CASE("RigL updates in place of steps until 75% of training", "[unit]") {
  const RunSchedule run =
      schedule_of({{"weights", "rigl"}, {"epochs", "4"}, {"update_interval", "5"}});  // 40 steps
  REQUIRE(updates_of(run, true) == std::vector<std::int64_t>{5, 10, 15, 20, 25, 30});
  REQUIRE(updates_of(run, false).empty());
  REQUIRE(plan_replica(run, 0, 15).topology_progress == Approx(0.5));
}

TEST_CASE("SET updates after each epoch but the last", "[unit]") {
  const RunSchedule run = schedule_of({{"weights", "set"}, {"epochs", "4"}});
  REQUIRE(updates_of(run, false) == std::vector<std::int64_t>{9, 19, 29});
}

TEST_CASE("GMP reaches its budget even where the interval doesn't divide the end", "[unit]") {
  const RunSchedule run = schedule_of({{"weights", "gmp"},
                                       {"epochs", "4"},
                                       {"prune_begin", "0.1"},
                                       {"prune_end", "0.55"},
                                       {"prune_interval", "9"}});
  const auto at = updates_of(run, false);
  REQUIRE(at == std::vector<std::int64_t>{8, 17, 21});
  REQUIRE(plan_replica(run, 0, 21).topology_progress >= 1);
  REQUIRE(density_at(run.weights.topology, 0.2, 1) == Approx(0.2));
  REQUIRE(density_at(run.weights.topology, 0.2, 0) == 1);
  REQUIRE(density_at(run.weights.topology, 0.2, 0.5) == Approx(0.2 + 0.8 / 8));
}

TEST_CASE("the stream of a step is drawn by the run's own seed", "[unit]") {
  const RunSchedule run =
      schedule_of({{"weights", "alternate"}, {"steps", "2000"}, {"weights_p", "0.3"}});
  const RunSchedule other = schedule_of(
      {{"weights", "alternate"}, {"steps", "2000"}, {"weights_p", "0.3"}, {"seed", "2"}});
  int full = 0, same = 0;
  for (int s = 0; s < 2000; ++s) {
    const bool runs_full = plan_replica(run, 0, s).weights_full;
    REQUIRE(runs_full == plan_replica(run, 0, s).weights_full);
    full += runs_full;
    same += runs_full == plan_replica(other, 0, s).weights_full;
  }
  REQUIRE(full > 520);
  REQUIRE(full < 680);
  REQUIRE(same < 1400);
}

TEST_CASE("an interval in epochs ends with the epochs of every stage", "[unit]") {
  // Stages of 2 and 3 steps an epoch, two epochs each: updates after 2, 4, 7, and none at the end.
  const RunSchedule run = schedule_of({{"weights", "set"}, {"epochs", "2"}}, {64, 96});
  REQUIRE(run.timeline.task_steps == std::vector<std::int64_t>{4, 6});
  REQUIRE(updates_of(run, false) == std::vector<std::int64_t>{1, 3, 6});
}

TEST_CASE("steps are per task, also where joint training has all tasks in one stage", "[unit]") {
  const Config config = small_run({{"steps", "50"}});
  REQUIRE(make_timeline(config, {320}).task_steps == std::vector<std::int64_t>{50});
  REQUIRE(make_timeline(config, {320}, 5).task_steps == std::vector<std::int64_t>{250});
}

TEST_CASE("alignment at the logits needs two networks", "[unit]") {
  REQUIRE_THROWS_AS(
      policies_of(small_run({{"weights", "ssa"}, {"weights_site", "logits"}}), Level::kWeights),
      ConfigError);
}

TEST_CASE("learning rates", "[unit]") {
  const Config cosine =
      small_run({{"lr", "0.2"}, {"lr_schedule", "cosine"}, {"warmup_steps", "4"}});
  REQUIRE(LearningRate(cosine).at(0, 104) == Approx(0.05));
  REQUIRE(LearningRate(cosine).at(3, 104) == Approx(0.2));
  REQUIRE(LearningRate(cosine).at(54, 104) == Approx(0.1));
  REQUIRE(LearningRate(cosine).at(104, 104) == Approx(0).margin(1e-12));
  const Config step = small_run({{"lr", "1"},
                                 {"lr_schedule", "step"},
                                 {"lr_step_at", "0.5,0.75"},
                                 {"lr_step_factor", "0.1"}});
  REQUIRE(LearningRate(step).at(49, 100) == Approx(1));
  REQUIRE(LearningRate(step).at(50, 100) == Approx(0.1));
  REQUIRE(LearningRate(step).at(80, 100) == Approx(0.01));
}

TEST_CASE("idle replicas run nothing and keep their step", "[unit]") {
  const RunSchedule run = schedule_of({{"epochs", "1"}}, {64, 320});
  REQUIRE(run.timeline.task_steps == std::vector<std::int64_t>{2, 10});
  REQUIRE(plan_replica(run, 0, 1).runs);
  REQUIRE_FALSE(plan_replica(run, 0, 2).runs);
  REQUIRE(plan_replica(run, 0, 5).step == 2);
  REQUIRE(plan_replica(run, 1, 0).step == 2);
}

TEST_CASE("a setting that is known to diverge is named", "[unit]") {
  const Settings one_sided = {{"weights", "ssa"}, {"weights_lambda_full", "0"}};
  REQUIRE(divergence_warning(small_run(one_sided)).find("lambda_full") != std::string::npos);
  Settings at_logits = one_sided;
  at_logits["weights_counterpart"] = "propagated";
  at_logits["weights_site"] = "logits";
  REQUIRE(divergence_warning(small_run(at_logits)).empty());
  REQUIRE(divergence_warning(small_run({{"weights", "ssa"}})).empty());
}
