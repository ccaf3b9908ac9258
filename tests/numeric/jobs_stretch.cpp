// The stretch of a run from its config alone, against the trainer's own steps; and what it makes of
// predicted times.
#include <catch2/catch.hpp>

#include "config/option.h"
#include "core/files.h"
#include "jobs/planner.h"
#include "plan/stretch.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::jobs_stretch_numeric {

using namespace tandem::test;

namespace {

std::int64_t steps_of(const Config& config) {
  const Trainer trainer({config}, {});
  std::int64_t steps = 0;
  for (std::int64_t stage = 0; stage < trainer.stages(); ++stage) {
    steps += trainer.stage_steps(stage);
  }
  return steps;
}

RunRecord done(const Config& run, double seconds) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  record.state = "done";
  record.attempt = 1;
  record.seconds = seconds;
  for (const auto& [name, value] : run.values()) {
    if (option(name).scope == OptionScope::kRun) record.values.emplace_back(name, value);
  }
  return record;
}

Config matched(Settings said, const std::string& match = "train_flops") {
  said["match"] = match;
  return small_run(said);
}

}  // namespace

TEST_CASE("a run's stretch is known from its config", "[numeric]") {
  const StretchOf stretch = stretch_finder();
  const std::vector<Settings> runs = {
      {{"weights", "static"}, {"steps", "200"}},
      {{"weights", "rigl"}, {"steps", "200"}, {"update_interval", "10"}},
      {{"weights", "ste"}, {"steps", "200"}, {"density", "0.5"}},
      {{"weights", "sandwich"}, {"steps", "200"}},
      {{"weights", "set"}, {"epochs", "20"}},
      {{"weights", "static"}, {"scenario", "class_il"}, {"steps", "60"}, {"batch", "8"}},
      {{"weights", "static"}, {"scenario", "class_il"}, {"strategy", "joint"}, {"steps", "60"}},
      {{"weights", "set"}, {"scenario", "class_il"}, {"strategy", "joint"}, {"epochs", "7"}},
      {{"weights", "static"}, {"scenario", "class_il"}, {"strategy", "er"}, {"epochs", "7"}}};
  for (const Settings& said : runs) {
    CAPTURE(said);
    const double plain = static_cast<double>(steps_of(matched(said, "steps")));
    const double own = static_cast<double>(steps_of(matched(said)));
    const auto factor = stretch(matched(said));
    REQUIRE(factor);
    CHECK(*factor == Approx(own / plain).epsilon(1e-9));
    CHECK(stretch(matched(said, "steps")) == 1.0);
  }
  Settings other = {{"weights", "static"}, {"steps", "200"}, {"seed", "9"}};
  CHECK(stretch(matched(other)) == stretch(matched(runs.front())));
  other["data_dir"] = "/nowhere";
  other["data"] = "kmnist";
  CHECK_FALSE(stretch(matched(other)));
}

TEST_CASE("predicted times follow the matched schedule", "[numeric]") {
  const Settings sparse = {{"weights", "static"}, {"steps", "200"}};
  Settings sparser = sparse;
  sparser["density"] = "0.05";
  const StretchOf stretch = stretch_finder();
  const double factor = stretch(matched(sparse)).value();
  const double larger = stretch(matched(sparser)).value();
  REQUIRE(factor > 2);
  REQUIRE(larger > 2 * factor);
  TemporaryFolder folder("tandem-stretch");
  PlannerInput input;
  input.database = folder / "t.sqlite";
  input.jobs = 1;
  const auto predicted = [&](const Config& wanted, const Config& known) {
    input.wanted = {wanted};
    Settings seed = known.given();
    seed["seed"] = "77";
    input.known = {done(Config::resolve(seed), 10)};
    return plan_groups(input).predicted_seconds.value();
  };
  CHECK(predicted(matched(sparse, "steps"), matched(sparse, "steps")) == Approx(10));
  CHECK(predicted(matched(sparse), matched(sparse, "steps")) == Approx(10 * factor));
  CHECK(predicted(matched(sparse), matched(sparse)) == Approx(10));
  CHECK(predicted(matched(sparse, "steps"), matched(sparse)) == Approx(10 / factor));
  CHECK(predicted(matched(sparser), matched(sparse)) == Approx(10 * larger / factor));
  input.stretch = [](const Config&) { return std::nullopt; };
  input.wanted = {matched(sparse)};
  CHECK_FALSE(plan_groups(input).predicted_seconds);
}

}  // namespace tandem::test::jobs_stretch_numeric
