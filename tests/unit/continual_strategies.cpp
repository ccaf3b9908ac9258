// Strategies: what they replay, that the reservoir is fair, and that their state goes through a
// checkpoint.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "config/strategy_start.h"
#include "continual/strategy.h"
#include "core/error.h"
#include "data/example.h"

namespace tandem::test::continual_strategies_unit {
namespace {

using Indices = std::vector<std::int64_t>;

StrategyView view_of(const std::vector<Settings>& runs) {
  StrategyView view;
  view.replicas = static_cast<std::int64_t>(runs.size());
  for (Settings said : runs) {
    said.emplace("strategy", "er");
    view.configs.push_back(Config::resolve(said));
  }
  return view;
}

std::unique_ptr<Strategy> make(const std::vector<Settings>& runs) {
  StrategyView view = view_of(runs);
  const std::string name = view.configs[0].text("strategy");
  return strategies().at("strategy", name)(std::move(view));
}

Settings er(int seed, int buffer, int replay) {
  return {{"seed", std::to_string(seed)},
          {"buffer", std::to_string(buffer)},
          {"replay_batch", std::to_string(replay)}};
}

// The rows of all replays, in order; `current` is filled where it is wanted.
std::vector<BatchRow> rows_of(Strategy& strategy, std::int64_t r, std::int64_t step,
                              const Indices& current, std::vector<BatchRow>* own = nullptr) {
  std::vector<BatchRow> rows;
  for (const std::int64_t each : current) rows.push_back({each});
  std::vector<std::vector<BatchRow>> replays(strategy.needs().replays.size());
  strategy.batch(r, step, rows, replays);
  if (own != nullptr) *own = rows;
  std::vector<BatchRow> all;
  for (const auto& replay : replays) all.insert(all.end(), replay.begin(), replay.end());
  return all;
}

Indices replayed(Strategy& strategy, std::int64_t r, std::int64_t step, const Indices& current) {
  Indices examples;
  for (const BatchRow& row : rows_of(strategy, r, step, current)) examples.push_back(row.example);
  return examples;
}

Indices buffer_of(const Strategy& strategy, std::int64_t r) {
  for (const auto& [name, values] : strategy.save(r)) {
    if (name.find(".buffer") != std::string::npos) return integers_in(values);
  }
  return {};
}

std::map<std::string, Indices> saved(const Strategy& strategy, std::int64_t r) {
  std::map<std::string, Indices> all;
  for (const auto& [name, values] : strategy.save(r)) all[name] = integers_in(values);
  return all;
}

Indices range(std::int64_t first, std::int64_t count) {
  Indices list;
  for (std::int64_t i = 0; i < count; ++i) list.push_back(first + i);
  return list;
}

}  // namespace

TEST_CASE("the controls replay nothing", "[unit]") {
  const std::vector<std::pair<const char*, StageData>> controls = {
      {"finetune", StageData::kOwnTask},
      {"joint", StageData::kAllTasks},
      {"cumulative", StageData::kSoFar},
      {"gdumb", StageData::kMemory}};
  for (const auto& [name, stage] : controls) {
    const auto strategy = make({{{"strategy", name}}});
    CHECK(strategy->needs().stage == stage);
    CHECK(strategy->needs().fresh_start == (stage == StageData::kMemory));
    CHECK(strategy->needs().replays.empty());
    CHECK(replayed(*strategy, 0, 0, range(0, 5)).empty());
    CHECK_FALSE(strategy->loss({}).defined());
    CHECK(strategy->save(0).empty());
  }
}

TEST_CASE("who begins each stage afresh has said so to the views", "[unit]") {
  const std::vector<std::string> declared = strategies_that_begin_afresh();
  CHECK(declared == std::vector<std::string>{"gdumb"});
  for (const auto& [name, factory] : strategies().all()) {
    INFO(name);
    const StrategyNeeds needs = make({{{"strategy", name}}})->needs();
    CHECK(needs.fresh_start == (std::count(declared.begin(), declared.end(), name) != 0));
  }
}

TEST_CASE("replay comes from the buffer as it was before the current batch", "[unit]") {
  const auto strategy = make({er(1, 100, 4)});
  REQUIRE(strategy->needs().replays.size() == 1);
  CHECK(strategy->needs().replays[0].rows == 4);
  CHECK(replayed(*strategy, 0, 0, range(0, 3)).empty());
  Indices second = replayed(*strategy, 0, 1, range(3, 3));
  std::sort(second.begin(), second.end());
  CHECK(second == range(0, 3));
  Indices third = replayed(*strategy, 0, 2, range(6, 3));
  CHECK(third.size() == 4);
  CHECK(std::set<std::int64_t>(third.begin(), third.end()).size() == 4);
  CHECK(*std::max_element(third.begin(), third.end()) < 6);
  CHECK(buffer_of(*strategy, 0) == range(0, 9));
}

TEST_CASE("replay_batch 0 replays as many as a batch", "[unit]") {
  Settings said = er(1, 100, 0);
  said["batch"] = "7";
  CHECK(make({said})->needs().replays[0].rows == 7);
}

TEST_CASE("replay is drawn without replacement and evenly", "[unit]") {
  const auto strategy = make({er(2, 20, 5)});
  replayed(*strategy, 0, 0, range(0, 20));
  std::vector<double> hits(20, 0);
  constexpr int kSteps = 4000;
  for (int step = 1; step <= kSteps; ++step) {
    const Indices replay = replayed(*strategy, 0, step, {});
    REQUIRE(std::set<std::int64_t>(replay.begin(), replay.end()).size() == 5);
    for (const auto each : replay) ++hits[each];
  }
  const double expected = kSteps * 5 / 20.0;
  double chi_square = 0;
  for (const double each : hits) chi_square += (each - expected) * (each - expected) / expected;
  CHECK(chi_square < 50);  // 19 degrees of freedom: 99.99% lie below 51
}

TEST_CASE("every example seen is as likely to be in the reservoir", "[unit]") {
  constexpr int kRuns = 2000, kSeen = 50, kCapacity = 10;
  std::vector<double> hits(kSeen, 0);
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto strategy = make({er(seed, kCapacity, 1)});
    for (int step = 0; step < kSeen / 5; ++step) replayed(*strategy, 0, step, range(step * 5, 5));
    const Indices held = buffer_of(*strategy, 0);
    REQUIRE(held.size() == kCapacity);
    REQUIRE(std::set<std::int64_t>(held.begin(), held.end()).size() == kCapacity);
    for (const auto each : held) ++hits[each];
  }
  const double expected = 1.0 * kRuns * kCapacity / kSeen;
  double chi_square = 0;
  for (const double each : hits) chi_square += (each - expected) * (each - expected) / expected;
  CHECK(chi_square < 95);  // 49 degrees of freedom: 99.99% lie below 95
}

TEST_CASE("a replica's replay doesn't depend on its company", "[unit]") {
  const auto group = make({er(1, 8, 3), er(2, 8, 3)});
  const auto alone = make({er(2, 8, 3)});
  bool differ = false;
  for (int step = 0; step < 30; ++step) {
    const Indices current = range(step * 4, 4);
    const Indices first = replayed(*group, 0, step, current);
    const Indices second = replayed(*group, 1, step, current);
    CHECK(second == replayed(*alone, 0, step, current));
    differ = differ || first != second;
  }
  CHECK(differ);
  CHECK(buffer_of(*group, 1) == buffer_of(*alone, 0));
}

TEST_CASE("experience replay goes on from a saved state as if nothing had happened", "[unit]") {
  const auto whole = make({er(3, 8, 3)});
  for (int step = 0; step < 10; ++step) replayed(*whole, 0, step, range(step * 4, 4));
  const auto resumed = make({er(9, 8, 3), er(3, 8, 3)});
  for (const auto& [name, values] : whole->save(0)) resumed->load(1, name, values);
  for (int step = 10; step < 40; ++step) {
    const Indices current = range(step * 4, 4);
    CHECK(replayed(*resumed, 1, step, current) == replayed(*whole, 0, step, current));
  }
  CHECK(saved(*resumed, 1) == saved(*whole, 0));
}

namespace {

// An example's class is its thousands; tasks by class, or all classes in each task.
std::unique_ptr<Strategy> by_class(const Settings& said, int classes, int tasks = 1) {
  StrategyView view = view_of({said});
  TaskSequence sequence;
  sequence.tasks.resize(static_cast<std::size_t>(tasks));
  for (Task& task : sequence.tasks) task.classes = range(0, classes);
  if (tasks > 1) sequence.views.resize(static_cast<std::size_t>(tasks));
  view.sequences = {sequence};
  view.class_of = [](std::int64_t example) { return source_of(example) / 1000; };
  return strategies().at("strategy", "er")(std::move(view));
}

Settings kept_by(const std::string& rule, int seed, int buffer) {
  Settings said = er(seed, buffer, 1);
  said["buffer_rule"] = rule;
  return said;
}

// So many of each class, shuffled evenly by a fixed rule.
Indices mixed(const std::vector<int>& counts) {
  std::vector<std::pair<double, std::int64_t>> all;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    for (int i = 0; i < counts[c]; ++i) {
      all.emplace_back((i + 0.5) / counts[c] + 1e-6 * static_cast<double>(c),
                       static_cast<std::int64_t>(c) * 1000 + i);
    }
  }
  std::sort(all.begin(), all.end());
  Indices examples;
  for (const auto& [when, example] : all) examples.push_back(example);
  return examples;
}

std::map<std::int64_t, Indices> held_by_class(const Strategy& strategy) {
  std::map<std::int64_t, Indices> all;
  for (const std::int64_t each : buffer_of(strategy, 0)) all[each / 1000].push_back(each);
  for (auto& [of_class, own] : all) std::sort(own.begin(), own.end());
  return all;
}

}  // namespace

TEST_CASE("a ring keeps the latest of each class, and of each task's own where they are shared",
          "[unit]") {
  const auto strategy = by_class(kept_by("ring", 1, 14), 3);  // four of each
  const Indices stream = mixed({50, 7, 2});
  for (std::size_t i = 0; i < stream.size(); ++i) {
    replayed(*strategy, 0, static_cast<int>(i), {stream[i]});
    std::map<std::int64_t, Indices> latest;
    for (std::size_t j = i + 1; j-- > 0;) {
      Indices& own = latest[stream[j] / 1000];
      if (own.size() < 4) own.insert(own.begin(), stream[j]);
    }
    REQUIRE(held_by_class(*strategy) == latest);
  }
  const auto of_tasks = by_class(kept_by("ring", 1, 12), 2, 3);  // two of each class of a task
  int step = 0;
  for (const std::int64_t task : {1, 2, 3}) {
    for (int i = 0; i < 9; ++i) {
      replayed(*of_tasks, 0, step++, {example_of(i, task), example_of(1000 + i, task)});
    }
  }
  Indices held = buffer_of(*of_tasks, 0), expected;
  for (const std::int64_t task : {1, 2, 3}) {
    for (const std::int64_t each : {7, 8, 1007, 1008}) expected.push_back(example_of(each, task));
  }
  std::sort(held.begin(), held.end());
  std::sort(expected.begin(), expected.end());
  CHECK(held == expected);
}

TEST_CASE("a balanced buffer keeps rare classes whole and shares the rest evenly and fairly",
          "[unit]") {
  // Of 24 places 3 and 5 are all that the rare classes have, and 16 are for the two others.
  constexpr int kRuns = 1500;
  std::vector<double> hits(80, 0);
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto strategy = by_class(kept_by("balanced", seed, 24), 4);
    int step = 0;
    for (const std::int64_t each : mixed({80, 3, 60, 5})) replayed(*strategy, 0, step++, {each});
    const auto held = held_by_class(*strategy);
    REQUIRE(buffer_of(*strategy, 0).size() == 24);
    REQUIRE(held.at(1) == range(1000, 3));
    REQUIRE(held.at(3) == range(3000, 5));
    REQUIRE(held.at(0).size() == 8);
    REQUIRE(held.at(2).size() == 8);
    REQUIRE(std::set<std::int64_t>(held.at(0).begin(), held.at(0).end()).size() == 8);
    for (const std::int64_t each : held.at(0)) ++hits[static_cast<std::size_t>(each)];
  }
  const double expected = 1.0 * kRuns * 8 / 80;
  double chi_square = 0;
  for (const double each : hits) chi_square += (each - expected) * (each - expected) / expected;
  CHECK(chi_square < 134);  // 79 degrees of freedom: 99.99% lie below 134
}

TEST_CASE("buffers by class go on from a saved state as if nothing had happened", "[unit]") {
  for (const std::string rule : {"ring", "balanced"}) {
    CAPTURE(rule);
    const Indices stream = mixed({90, 11, 30, 4});
    const auto whole = by_class(kept_by(rule, 5, 22), 4);
    int step = 0;
    for (; step < 70; ++step) replayed(*whole, 0, step, {stream[static_cast<std::size_t>(step)]});
    const auto resumed = by_class(kept_by(rule, 5, 22), 4);
    for (const auto& [name, values] : whole->save(0)) resumed->load(0, name, values);
    for (; step < static_cast<int>(stream.size()); ++step) {
      const Indices current = {stream[static_cast<std::size_t>(step)]};
      REQUIRE(replayed(*resumed, 0, step, current) == replayed(*whole, 0, step, current));
    }
    CHECK(saved(*resumed, 0) == saved(*whole, 0));
  }
}

TEST_CASE("rows say where in the buffer they lie, and of two that enter one place the later stays",
          "[unit]") {
  Settings said = er(4, 5, 3);
  said["strategy"] = "derpp";
  const auto strategy = make({said});
  REQUIRE(strategy->needs().replays.size() == 2);
  std::vector<std::int64_t> held(5, -1);  // what a reader of `enters` would hold
  bool anew = false;
  for (int step = 0; step < 60; ++step) {
    std::vector<BatchRow> own;
    const auto replay = rows_of(*strategy, 0, step, range(step * 4, 4), &own);
    for (const BatchRow& row : replay) CHECK(held.at(row.place) == row.example);
    if (replay.size() == 6) {
      for (int i = 0; i < 3; ++i) anew = anew || replay[i].example != replay[i + 3].example;
    }
    std::set<std::int64_t> entered;
    for (const BatchRow& row : own) {
      if (row.enters < 0) continue;
      CHECK(entered.insert(row.enters).second);
      held.at(row.enters) = row.example;
    }
    CHECK(Indices(held.begin(), held.begin() + buffer_of(*strategy, 0).size()) ==
          buffer_of(*strategy, 0));
  }
  CHECK(anew);  // the second replay is drawn for itself
}

TEST_CASE("importances are taken over so many examples of each task but the last", "[unit]") {
  struct Asked : StrategyServices {
    at::Tensor logits_with(const std::vector<at::Tensor>&, const at::Tensor&) override {
      return {};
    }
    std::vector<std::vector<Indices>> examples;
    std::vector<at::Tensor> importances(const std::vector<Indices>& of, Importance) override {
      examples.push_back(of);
      return {};
    }
    void take_snapshot(std::size_t) override {}
    std::vector<at::Tensor> features(const std::vector<Indices>&) override { return {}; }
    at::Tensor snapshot_logits(std::size_t, const at::Tensor&) override { return {}; }
  };
  for (const char* name : {"ewc", "ewc_empirical", "ewc_online", "mas"}) {
    for (const std::string count : {"7", "0", "1000"}) {
      CAPTURE(name, count);
      Asked asked;
      const Settings said = {{"strategy", name}, {"fisher_examples", count}};
      Settings other = said;
      other["seed"] = "2";
      StrategyView view = view_of({said, other});
      TaskSequence sequence;
      sequence.tasks.resize(3);
      view.sequences = {sequence, sequence};
      view.services = &asked;
      const auto strategy = strategies().at("strategy", name)(std::move(view));
      const std::vector<Indices> all = {range(0, 50), range(100, 60)};
      for (int task = 1; task <= 3; ++task) strategy->after_task(task, all);
      REQUIRE(asked.examples.size() == 2);
      for (const auto& of_task : asked.examples) {
        for (std::size_t r = 0; r < 2; ++r) {
          const std::set<std::int64_t> own(of_task[r].begin(), of_task[r].end());
          CHECK(own.size() == (count == "7" ? 7 : all[r].size()));
          CHECK(own.size() == of_task[r].size());
          for (const auto each : own) CHECK(std::count(all[r].begin(), all[r].end(), each) == 1);
        }
      }
      const bool drawn = count == "7";
      CHECK((asked.examples[0][0] != asked.examples[1][0]) == drawn);
    }
  }
}

TEST_CASE("A-GEM's memory has as many examples of each task, and nothing is replayed before",
          "[unit]") {
  Settings said = er(6, 20, 4);
  said["strategy"] = "agem";
  StrategyView view = view_of({said});
  TaskSequence sequence;
  sequence.tasks.resize(5);
  view.sequences = {sequence};
  const auto strategy = strategies().at("strategy", "agem")(std::move(view));
  CHECK(replayed(*strategy, 0, 0, range(0, 4)).empty());
  REQUIRE(strategy->needs().replays.size() == 1);
  CHECK_FALSE(strategy->needs().replays[0].in_batch);
  for (int task = 1; task <= 5; ++task) {
    strategy->after_task(task, {range(100 * task, 30)});
    const Indices held = saved(*strategy, 0).at("agem.memory");
    CHECK(held.size() == 4 * static_cast<std::size_t>(task));
    CHECK(std::set<std::int64_t>(held.begin(), held.end()).size() == held.size());
    for (std::size_t i = 0; i < held.size(); ++i) {
      CHECK(held[i] / 100 == static_cast<std::int64_t>(i) / 4 + 1);
    }
    CHECK(replayed(*strategy, 0, task, range(0, 4)).size() == 4);
  }
}

TEST_CASE("a state of another strategy or size is refused", "[unit]") {
  const auto strategy = make({er(1, 4, 2)});
  CHECK_THROWS_AS(strategy->load(0, "other", integers_tensor({1})), StoreError);
  CHECK_THROWS_AS(strategy->load(0, "er.buffer", integers_tensor(range(0, 5))), StoreError);
  CHECK_THROWS_AS(strategy->load(0, "er.seen", integers_tensor({})), StoreError);
}

}  // namespace tandem::test::continual_strategies_unit
