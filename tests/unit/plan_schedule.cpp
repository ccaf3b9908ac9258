// Schedules as pure functions of the step.
#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/philox.h"
#include "methods/method.h"
#include "plan/plan.h"
#include "support/train_support.h"

namespace tandem::test::plan_schedule_unit {

using namespace tandem::test;

namespace {

RunSchedule schedule_of(const Config& config, std::vector<std::int64_t> examples = {320}) {
  return {config, policies_of(config), make_timeline(config, examples)};
}

RunSchedule schedule_of(const Settings& said, std::vector<std::int64_t> examples = {320}) {
  return schedule_of(small_run(said), std::move(examples));
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

TEST_CASE("after which steps a phased run has no mask in training", "[unit]") {
  const RunSchedule run =
      schedule_of({{"weights", "acdc"}, {"phases", "0.25,0.5,0.75"}, {"steps", "40"}});
  for (std::int64_t steps = 0; steps <= 40; ++steps) {
    CAPTURE(steps);
    // A sparse phase begins with the pruning after step 10 or 30, a full one with step 21.
    CHECK(in_full_phase(run, steps) == (steps < 10 || (steps > 20 && steps < 30)));
  }
  CHECK(in_full_phase(schedule_of({{"weights", "dsd"}, {"steps", "40"}}), 40));
  CHECK_FALSE(in_full_phase(schedule_of({{"weights", "alternate"}, {"steps", "40"}}), 40));
}

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
  Start start = run.policies.weights.start;
  start.density = 0.2;
  REQUIRE(density_at(run.policies.weights.topology, start, 1) == Approx(0.2));
  REQUIRE(density_at(run.policies.weights.topology, start, 0) == 1);
  REQUIRE(density_at(run.policies.weights.topology, start, 0.5) == Approx(0.2 + 0.8 / 8));
  start.pattern = Start::Pattern::kRandom;
  start.initial_density = 0.6;
  REQUIRE(density_at(run.policies.weights.topology, start, 0) == Approx(0.6));
  REQUIRE(density_at(run.policies.weights.topology, start, 0.5) == Approx(0.2 + 0.4 / 8));
}

TEST_CASE("the stream of a step is drawn by the run's own seed", "[unit]") {
  const RunSchedule run =
      schedule_of({{"weights", "alternate"}, {"steps", "2000"}, {"weights_p", "0.3"}});
  const RunSchedule other = schedule_of(
      {{"weights", "alternate"}, {"steps", "2000"}, {"weights_p", "0.3"}, {"seed", "2"}});
  int full = 0, same = 0;
  for (int s = 0; s < 2000; ++s) {
    const bool runs_full = plan_replica(run, 0, s).levels.weights.full;
    REQUIRE(runs_full == plan_replica(run, 0, s).levels.weights.full);
    full += runs_full;
    same += runs_full == plan_replica(other, 0, s).levels.weights.full;
  }
  REQUIRE(full > 520);
  REQUIRE(full < 680);
  REQUIRE(same < 1400);
}

namespace {

// Share of full steps, at either level, in steps [begin, end) of a run.
double full_share(const RunSchedule& run, int begin, int end, bool attention = false) {
  int full = 0;
  for (int s = begin; s < end; ++s) {
    const ReplicaPlan plan = plan_replica(run, 0, s);
    full += attention ? plan.levels.attention.full : plan.levels.weights.full;
  }
  return static_cast<double>(full) / (end - begin);
}

}  // namespace

TEST_CASE("p moves linearly or by half a cosine from the first step to the last", "[unit]") {
  Settings said = small_transformer({{"weights", "ssa"},
                                     {"attention", "ssa"},
                                     {"steps", "20000"},
                                     {"weights_p", "0.9"},
                                     {"weights_p_final", "0.1"},
                                     {"attention_p", "0.1"},
                                     {"attention_p_final", "0.9"}});
  // Means over the first, second and last fifth: of 1 - t, and of (1 + cos(pi t)) / 2.
  const double fifth = std::numbers::pi / 5;
  const auto cosine = [fifth](int k) {
    return (1 + (std::sin((k + 1) * fifth) - std::sin(k * fifth)) / fifth) / 2;
  };
  for (const std::string course : {"linear", "cosine"}) {
    said["weights_p_schedule"] = said["attention_p_schedule"] = course;
    const RunSchedule run = schedule_of(Config::resolve(said));
    for (const int k : {0, 1, 4}) {
      CAPTURE(course, k);
      const double rest = course == "linear" ? 0.9 - 0.2 * k : cosine(k);
      const int begin = k * 4000;
      REQUIRE(full_share(run, begin, begin + 4000) == Approx(0.1 + 0.8 * rest).margin(0.03));
      REQUIRE(full_share(run, begin, begin + 4000, true) == Approx(0.9 - 0.8 * rest).margin(0.03));
    }
  }
  // At its two ends it is what was said.
  for (int seed = 1; seed <= 10; ++seed) {
    Settings edge = {{"weights", "alternate"}, {"weights_p_schedule", "linear"}, {"steps", "2"}};
    edge["weights_p"] = "1";
    edge["seed"] = std::to_string(seed);
    REQUIRE(plan_replica(schedule_of(edge), 0, 0).levels.weights.full);
    REQUIRE_FALSE(
        plan_replica(schedule_of(edge), 0, 1).levels.weights.full);  // weights_p_final = 0
    edge["steps"] = "1";
    REQUIRE(plan_replica(schedule_of(edge), 0, 0).levels.weights.full);
  }
}

TEST_CASE("a p that stays draws what it drew before p could move", "[unit]") {
  const Settings said = {{"weights", "alternate"}, {"steps", "500"}};
  const RunSchedule run = schedule_of(said);
  Settings moving = said;
  moving["weights_p_schedule"] = "cosine";
  moving["weights_p_final"] = "0.5";
  const RunSchedule still = schedule_of(moving);
  const RandomStream stream{run.draw_keys.weights};
  for (int s = 0; s < 500; ++s) {
    const bool full = stream.uniform(static_cast<std::uint64_t>(s)) < 0.5;
    REQUIRE(plan_replica(run, 0, s).levels.weights.full == full);
    REQUIRE(plan_replica(still, 0, s).levels.weights.full == full);
    REQUIRE(plan_replica(run, 0, s).levels.weights.full_layers == 0);
  }
}

TEST_CASE("a draw holds for a block of steps", "[unit]") {
  const Settings said = {{"weights", "alternate"},
                         {"steps", "2000"},
                         {"weights_p_schedule", "linear"},
                         {"weights_p", "1"}};
  Settings blocks = said;
  blocks["weights_draw_steps"] = "10";
  const RunSchedule run = schedule_of(blocks);
  int changes = 0;
  for (int s = 1; s < 2000; ++s) {
    const bool changed = plan_replica(run, 0, s).levels.weights.full !=
                         plan_replica(run, 0, s - 1).levels.weights.full;
    if (s % 10 != 0) REQUIRE_FALSE(changed);
    changes += changed;
  }
  REQUIRE(changes > 20);
  REQUIRE(full_share(run, 0, 1000) > 0.65);
  REQUIRE(full_share(run, 1000, 2000) < 0.35);
}

TEST_CASE("attention's streams take turns, hold draws and align now and then as the weights' do",
          "[unit]") {
  Settings said = {{"attention", "ssa"},
                   {"data", "bytes"},
                   {"model", "transformer"},
                   {"steps", "400"},
                   {"attention_align_every", "4"}};
  Settings turns = said;
  turns["attention_draw"] = "turns";
  turns["attention_draw_steps"] = "5";
  said["attention_draw_steps"] = "10";
  const RunSchedule run = schedule_of(Config::resolve(said)),
                    even = schedule_of(Config::resolve(turns));
  int changes = 0;
  for (int s = 1; s < 400; ++s) {
    const ReplicaPlan now = plan_replica(run, 0, s);
    const bool changed =
        now.levels.attention.full != plan_replica(run, 0, s - 1).levels.attention.full;
    if (s % 10 != 0) REQUIRE_FALSE(changed);
    changes += changed;
    REQUIRE(now.levels.attention.alpha == (s % 4 == 0 ? 10 : 0));
    REQUIRE(plan_replica(even, 0, s).levels.attention.full == (s / 5 % 2 == 0));
  }
  REQUIRE(changes > 8);
  turns["attention_p"] = "0.3";
  CHECK_THROWS_WITH(
      schedule_of(Config::resolve(turns)),
      Catch::Matchers::Contains("--attention-draw turns") && Catch::Matchers::Contains("0.3"));
}

TEST_CASE("layers draw for themselves, each with probability p", "[unit]") {
  const Settings said = {
      {"weights", "alternate"}, {"steps", "4000"}, {"weights_p", "0.3"}, {"weights_draw", "layer"}};
  const RunSchedule run = schedule_of(said);
  std::vector<int> full(kMostDrawingLayers, 0);
  int both = 0;
  for (int s = 0; s < 4000; ++s) {
    const std::uint64_t bits = plan_replica(run, 0, s).levels.weights.full_layers;
    REQUIRE(bits < (std::uint64_t{1} << kMostDrawingLayers));
    for (std::size_t l = 0; l < full.size(); ++l) full[l] += static_cast<int>(bits >> l & 1);
    both += (bits & 3) == 3;
  }
  for (const int each : full) REQUIRE(each / 4000.0 == Approx(0.3).margin(0.04));
  REQUIRE(both / 4000.0 == Approx(0.09).margin(0.03));  // independent of each other
}

TEST_CASE("what the streams can't do is refused", "[unit]") {
  const auto refused = [](Settings said) {
    REQUIRE_THROWS_AS(policies_of(small_run(said), Level::kWeights), ConfigError);
  };
  refused({{"weights", "ssa"}, {"weights_draw", "layer"}, {"weights_counterpart", "propagated"}});
  refused({{"weights", "alternate"}, {"weights_draw", "layer"}, {"dormant_decay", "0.1"}});
  refused({{"weights", "ssa"}, {"weights_gap_target", "0.1"}, {"weights_alpha", "0"}});
  refused({{"weights", "ssa"}, {"superset_density", "0.1"}});  // below density 0.2
  policies_of(small_run({{"weights", "alternate"},
                         {"weights_draw", "layer"},
                         {"dormant_decay", "0.1"},
                         {"dormant_decay_when", "always"}}),
              Level::kWeights);
}

TEST_CASE("a draw for each layer is warned of", "[unit]") {
  const Settings said = {{"weights", "ssa"}, {"weights_draw", "layer"}};
  REQUIRE(divergence_warning(small_run(said)).find("as a whole") != std::string::npos);
  Settings both = said;
  both["weights_lambda_full"] = "0";
  const std::string text = divergence_warning(small_run(both));
  REQUIRE(text.find("as a whole") != std::string::npos);
  REQUIRE(text.find("lambda_full") != std::string::npos);
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

TEST_CASE("batches that are not full are left out where that is said", "[unit]") {
  const Config config = small_run({{"batch", "64"}, {"epochs", "3"}, {"drop_last", "true"}});
  REQUIRE(make_timeline(config, {320, 330, 64, 63, 1}).task_steps ==
          std::vector<std::int64_t>{15, 15, 3, 3, 3});
}

TEST_CASE("alignment at the logits needs two networks", "[unit]") {
  REQUIRE_THROWS_AS(
      policies_of(small_run({{"weights", "ssa"}, {"weights_site", "logits"}}), Level::kWeights),
      ConfigError);
}

TEST_CASE("learning rates", "[unit]") {
  const Config cosine =
      small_run({{"lr", "0.2"}, {"lr_schedule", "cosine"}, {"warmup_steps", "4"}});
  REQUIRE(LearningRate(cosine).at(0, 0, 104) == Approx(0.05));
  REQUIRE(LearningRate(cosine).at(0, 3, 104) == Approx(0.2));
  REQUIRE(LearningRate(cosine).at(0, 54, 104) == Approx(0.1));
  REQUIRE(LearningRate(cosine).at(0, 104, 104) == Approx(0).margin(1e-12));
  // Its end is a share of lr: from 0.2 to 0.02, halfway at their mean.
  const Config ends = small_run(
      {{"lr", "0.2"}, {"lr_schedule", "cosine"}, {"warmup_steps", "4"}, {"lr_end", "0.1"}});
  REQUIRE(LearningRate(ends).at(0, 3, 104) == Approx(0.2));
  REQUIRE(LearningRate(ends).at(0, 54, 104) == Approx(0.11));
  REQUIRE(LearningRate(ends).at(0, 104, 104) == Approx(0.02));
  // A stored run's lr_final, which nobody may say any more, is the rate itself.
  const Config old = small_run({{"lr", "0.2"}, {"lr_schedule", "cosine"}, {"lr_final", "0.1"}});
  REQUIRE(LearningRate(old).at(0, 0, 100) == Approx(0.2));
  REQUIRE(LearningRate(old).at(0, 50, 100) == Approx(0.15));
  REQUIRE(LearningRate(old).at(0, 100, 100) == Approx(0.1));
  // A factor for each task, the last for all that follow, beside the schedule within it.
  Settings by_task = ends.given();
  by_task["task_lr"] = "1,0.5,0.25";
  const Config tasks = Config::resolve(by_task);
  REQUIRE(LearningRate(tasks).at(0, 54, 104) == Approx(0.11));
  REQUIRE(LearningRate(tasks).at(1, 54, 104) == Approx(0.055));
  REQUIRE(LearningRate(tasks).at(2, 54, 104) == Approx(0.0275));
  REQUIRE(LearningRate(tasks).at(7, 54, 104) == Approx(0.0275));
  const Config step = small_run({{"lr", "1"},
                                 {"lr_schedule", "step"},
                                 {"lr_step_at", "0.5,0.75"},
                                 {"lr_step_factor", "0.1"}});
  REQUIRE(LearningRate(step).at(0, 49, 100) == Approx(1));
  REQUIRE(LearningRate(step).at(0, 50, 100) == Approx(0.1));
  REQUIRE(LearningRate(step).at(0, 80, 100) == Approx(0.01));
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

}  // namespace tandem::test::plan_schedule_unit
