// match = train_flops: what the ledger counts after real runs, and what is stretched with a
// schedule.
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "methods/method.h"
#include "plan/match.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::plan_match_numeric {

using namespace tandem::test;

namespace {

// Training operations of each run of a group that trains to its end.
std::vector<double> trained(const std::vector<Config>& configs) {
  Trainer trainer(configs, {});
  for (std::int64_t stage = 0; stage < trainer.stages(); ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t s = 0; s < trainer.stage_steps(stage);) {
      s += trainer.advance(stage, s, 1).steps;
    }
    trainer.end_stage(stage);
  }
  std::vector<double> flops;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r)
    flops.push_back(trainer.flops().training(r));
  return flops;
}

Config matched_run(Settings said) {
  said.emplace("match", "train_flops");
  said.emplace("batch", "8");
  said["lr"] = "0.001";  // nothing may diverge
  return small_run(said);
}

double dense_flops(const Settings& said) {
  Settings dense = said;
  dense["weights"] = "dense";
  return trained({matched_run(dense)}).front();
}

bool draws(const Config& config) {
  return policies_of(config, Level::kWeights).schedule.kind == Schedule::Kind::kBernoulli &&
         policies_of(config, Level::kWeights).alignment.alpha == 0;
}

RunSchedule schedule_of(const Config& config, std::int64_t examples = 300) {
  return {config, policies_of(config), make_timeline(config, {examples})};
}

int updates_of(const RunSchedule& run) {
  int updates = 0;
  for (std::int64_t s = 0; s < run.timeline.total(); ++s)
    updates += plan_replica(run, 0, s).updates();
  return updates;
}

}  // namespace

TEST_CASE("every method trains for as many operations as dense training", "[numeric]") {
  std::map<std::string, double> dense;  // by steps
  for (const Part& method : parts_of("weights")) {
    INFO(method.name);
    Settings said = busy_method(method.name, "sgd", 60, 6);
    said["widths"] = "24,12";
    said["density"] = "0.5";
    if (draws(matched_run(said))) said["steps"] = "800";  // so that the draws' share is near p
    const auto [known, added] = dense.emplace(said["steps"], 0);
    if (added) known->second = dense_flops({{"steps", said["steps"]}, {"widths", "24,12"}});
    CHECK(trained({matched_run(said)}).front() == Approx(known->second).epsilon(0.02));
  }
}

TEST_CASE("steps scale with the operations of one step", "[numeric]") {
  const Trainer dense({matched_run({{"steps", "50"}, {"weights", "dense"}})}, {});
  CHECK(dense.stage_steps(0) == 50);
  Trainer fixed({matched_run({{"steps", "50"}, {"weights", "static"}, {"density", "0.1"}})}, {});
  const double factor =
      fixed.flops().forward(0, true, true) / fixed.flops().forward(0, true, false);
  CHECK(factor > 9);
  CHECK(fixed.stage_steps(0) == std::llround(50 * factor));
  // ssa computes both streams: 3 (f_D + f_S) against 3 f_D.
  Trainer ssa({matched_run({{"steps", "500"}, {"weights", "ssa"}, {"density", "0.1"}})}, {});
  CHECK(static_cast<double>(ssa.stage_steps(0)) == Approx(500 / (1 + 1 / factor)).margin(1));
}

TEST_CASE("replicas of a group are stretched by their own densities", "[numeric]") {
  const auto run = [](const char* density, const char* seed) {
    return matched_run(
        {{"steps", "40"}, {"weights", "rigl"}, {"density", density}, {"seed", seed}});
  };
  const std::vector<double> flops = trained({run("0.7", "1"), run("0.3", "1"), run("0.3", "2")});
  const double dense = dense_flops({{"steps", "40"}});
  for (const double each : flops) CHECK(each == Approx(dense).epsilon(0.02));
}

TEST_CASE("nested masks and pulls within layers are matched at their expectation", "[numeric]") {
  const double dense = dense_flops({{"steps", "1500"}, {"widths", "24,12"}});
  const auto matched = [](Settings said) {
    said["widths"] = "24,12";
    said["density"] = "0.6";
    said["steps"] = "1500";  // so that the draws' shares are near their probabilities
    return trained({matched_run(said)}).front();
  };
  const Settings nested = {{"weights_nested", "1,0.5,0.2"}, {"weights", "alternate"}};
  Settings layered = nested, aligned = nested;
  layered["weights_draw"] = "layer";
  aligned["weights"] = "ssa";
  aligned["weights_detach"] = "true";
  for (const Settings& said : {nested, layered, aligned}) {
    CAPTURE(said);
    CHECK(matched(said) == Approx(dense).epsilon(0.02));
  }
}

TEST_CASE("a task sequence is stretched task by task", "[numeric]") {
  Settings said = small_sequence();
  said["density"] = "0.25";
  Settings plain = said;
  plain["match"] = "steps";
  const Trainer short_run({matched_run(plain)}, {}), long_run({matched_run(said)}, {});
  const double factor =
      static_cast<double>(long_run.stage_steps(0)) / static_cast<double>(short_run.stage_steps(0));
  CHECK(factor > 2.5);
  for (std::int64_t stage = 1; stage < long_run.stages(); ++stage) {
    CHECK(static_cast<double>(long_run.stage_steps(stage)) ==
          Approx(factor * static_cast<double>(short_run.stage_steps(stage))).margin(4));
  }
  said["online"] = "true";
  CHECK_THROWS_WITH(Trainer({matched_run(said)}, {}), Catch::Contains("online"));
}

TEST_CASE("both levels of a transformer count", "[numeric]") {
  const auto run = [](const char* attention, const char* weights, const char* match) {
    Settings said = small_transformer({{"attention", attention},
                                       {"weights", weights},
                                       {"match", match},
                                       {"steps", "40"},
                                       {"batch", "1"},
                                       {"layers", "1"},
                                       {"lr", "0.0001"}});
    return Config::resolve(said);
  };
  const double dense = trained({run("full", "dense", "steps")}).front();
  for (const auto& [attention, weights] :
       {std::pair("moba", "dense"), std::pair("full", "static"), std::pair("moba", "rigl"),
        std::pair("ssa", "gmp"), std::pair("full", "small_dense")}) {
    INFO(attention << " " << weights);
    CHECK(trained({run(attention, weights, "train_flops")}).front() == Approx(dense).epsilon(0.02));
  }
}

TEST_CASE("what is counted in steps is stretched with the schedule, shares are not", "[numeric]") {
  const Config config = small_run({{"weights", "ssa"},
                                   {"steps", "400"},
                                   {"warmup_steps", "20"},
                                   {"refresh_interval", "10"},
                                   {"weights_alpha_warmup", "50"},
                                   {"lr_schedule", "cosine"}});
  const RunSchedule run = schedule_of(config), twice = stretched(run, 2);
  CHECK(twice.timeline.total() == 800);
  CHECK(twice.timeline.steps_per_epoch[0] == 2 * run.timeline.steps_per_epoch[0]);
  CHECK(twice.policies.weights.topology.interval_steps == 20);
  CHECK(twice.policies.weights.alignment.alpha_warmup_steps == 100);
  CHECK(twice.policies.weights.topology.end == run.policies.weights.topology.end);
  CHECK(updates_of(twice) == updates_of(run));
  CHECK(plan_replica(twice, 0, 19).lr == Approx(plan_replica(run, 0, 9).lr));
  CHECK(plan_replica(twice, 0, 400).lr == Approx(plan_replica(run, 0, 200).lr).epsilon(0.01));
  CHECK(plan_replica(twice, 0, 49).levels.weights.alpha ==
        Approx(plan_replica(run, 0, 24).levels.weights.alpha));
  const RunSchedule gmp =
      schedule_of(small_run({{"weights", "gmp"}, {"steps", "100"}, {"prune_interval", "7"}}));
  CHECK(updates_of(stretched(gmp, 3)) == updates_of(gmp));
  // What happens at every step goes on to, also where it is not the default.
  CHECK(stretched(schedule_of(small_run({{"weights", "ste"}})), 3)
            .policies.weights.topology.interval_steps == 1);
  CHECK(stretched(schedule_of(small_run({{"weights", "ste"}, {"refresh_interval", "2"}})), 3)
            .policies.weights.topology.interval_steps == 6);
  const RunSchedule set = schedule_of(small_run({{"weights", "set"}, {"steps", "95"}}));
  CHECK(updates_of(stretched(set, 4)) == updates_of(set));
}

TEST_CASE("match = steps leaves a run as it is", "[numeric]") {
  const Settings said = {{"weights", "rigl"}, {"steps", "40"}, {"update_interval", "5"}};
  Settings longer = said;
  longer["match"] = "train_flops";
  const Config plain = small_run(said);
  CHECK(plain.canonical().find("match") == std::string::npos);
  CHECK(small_run(longer).id() != plain.id());
  CHECK(group_key(small_run(longer)) != group_key(plain));
  const Trainer trainer({plain}, {});
  CHECK(trainer.run(0).config.canonical() == plain.canonical());
  CHECK(trainer.stage_steps(0) == 40);
}

TEST_CASE("a stretched run is evaluated and probed as often", "[numeric]") {
  const auto counts = [](const char* match) {
    const Config config = small_run({{"weights", "static"},
                                     {"epochs", "4"},
                                     {"eval_every", "1"},
                                     {"probe_every", "13"},
                                     {"validation", "0.1"},
                                     {"match", match}});
    MemorySink sink;
    GroupSpec spec;
    spec.runs = {config};
    REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
    std::map<std::string, std::set<std::int64_t>> steps;
    for (const Row& row : sink.unacknowledged()) {
      if (const auto* eval = std::get_if<EvalRow>(&row.body)) steps["eval"].insert(eval->step);
      const auto* metric = std::get_if<MetricRow>(&row.body);
      if (metric != nullptr && metric->name != "train_loss") steps["probe"].insert(metric->step);
    }
    return std::pair(steps["eval"].size(), steps["probe"].size());
  };
  const auto plain = counts("steps"), longer = counts("train_flops");
  CHECK(plain.first == 4);
  CHECK(longer.first == plain.first);
  CHECK(longer.second == plain.second);
}

}  // namespace tandem::test::plan_match_numeric
