// Which topology updates are logged: against the definition, update by update.
#include <catch2/catch.hpp>
#include <set>

#include "methods/method.h"
#include "plan/plan.h"
#include "support/train_support.h"

namespace tandem::test::plan_log_steps_unit {

using namespace tandem::test;

namespace {

struct Updates {
  std::vector<std::int64_t> all, logged;    // completed steps
  std::vector<std::int64_t> first_or_last;  // of windows of each stage's or of all steps
};

Updates updates_of(const Settings& said, std::int64_t window,
                   const std::vector<std::int64_t>& examples = {320}) {
  const Config config = small_run(said);
  const RunSchedule run(config, policies_of(config), make_timeline(config, examples));
  const bool by_stage = run.policies.weights.topology.interval_epochs > 0;
  Updates updates;
  std::set<std::pair<std::int64_t, std::int64_t>> windows;
  for (std::size_t stage = 0; stage < run.timeline.task_steps.size(); ++stage) {
    const auto s = static_cast<std::int64_t>(stage);
    for (std::int64_t step = 0; step < run.timeline.task_steps[stage]; ++step) {
      const ReplicaPlan plan = plan_replica(run, s, step);
      if (!plan.updates()) continue;
      const std::int64_t completed = plan.step + (plan.update_after ? 1 : 0);
      const std::int64_t counted = completed - (by_stage ? run.timeline.before(s) : 0);
      updates.all.push_back(completed);
      if (plan.logged) updates.logged.push_back(completed);
      if (windows.emplace(by_stage ? s : 0, counted / window).second) {
        updates.first_or_last.push_back(completed);
      }
    }
  }
  if (updates.first_or_last.back() != updates.all.back()) {
    updates.first_or_last.push_back(updates.all.back());
  }
  return updates;
}

}  // namespace

TEST_CASE("of masks chosen anew at every step one update in 100 is logged", "[unit]") {
  for (const char* method : {"ste", "srste", "random_masks"}) {
    CAPTURE(method);
    const Updates updates = updates_of({{"weights", method}, {"steps", "250"}}, 100);
    CHECK(updates.all.size() == 249);
    CHECK(updates.logged == std::vector<std::int64_t>{1, 100, 200, 249});
  }
  const Updates rarer = updates_of({{"weights", "topkast"}, {"steps", "250"}}, 1);
  CHECK(rarer.logged == rarer.all);
}

TEST_CASE("topology_log_steps logs the first update of each window, and the last", "[unit]") {
  const std::vector<Settings> methods = {
      {{"weights", "ste"}, {"steps", "90"}},
      {{"weights", "ste"}, {"steps", "90"}, {"refresh_interval", "3"}},
      {{"weights", "rigl"}, {"steps", "90"}, {"update_interval", "4"}},
      {{"weights", "set"}, {"epochs", "9"}, {"update_interval_epochs", "0.3"}},
      {{"weights", "gmp"},
       {"steps", "90"},
       {"prune_begin", "0.15"},
       {"prune_end", "0.77"},
       {"prune_interval", "4"}}};
  for (const Settings& method : methods) {
    for (const std::int64_t window : {1, 2, 7, 10, 64, 1000}) {
      for (const std::vector<std::int64_t>& examples :
           {std::vector<std::int64_t>{320}, std::vector<std::int64_t>{320, 100, 33, 170}}) {
        Settings said = method;
        said["topology_log_steps"] = std::to_string(window);
        CAPTURE(said, examples.size());
        const Updates updates = updates_of(said, window, examples);
        CHECK(updates.logged == updates.first_or_last);
      }
    }
  }
}

}  // namespace tandem::test::plan_log_steps_unit
