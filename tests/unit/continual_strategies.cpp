// Strategies: what they replay, that the reservoir is fair, and that their state goes through a
// checkpoint.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "continual/strategy.h"
#include "core/error.h"

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

Indices replayed(Strategy& strategy, std::int64_t r, std::int64_t step, const Indices& current) {
  Indices replay;
  strategy.batch(r, step, current, replay);
  return replay;
}

Indices buffer_of(const Strategy& strategy, std::int64_t r) {
  for (const auto& [name, values] : strategy.save(r)) {
    if (name == "er.buffer") return values;
  }
  return {};
}

Indices range(std::int64_t first, std::int64_t count) {
  Indices list;
  for (std::int64_t i = 0; i < count; ++i) list.push_back(first + i);
  return list;
}

}  // namespace

TEST_CASE("the controls replay nothing", "[unit]") {
  for (const char* name : {"finetune", "joint"}) {
    const auto strategy = make({{{"strategy", name}}});
    CHECK(strategy->joins_tasks() == (std::string(name) == "joint"));
    CHECK(strategy->replay_slots() == 0);
    CHECK(replayed(*strategy, 0, 0, range(0, 5)).empty());
    CHECK_FALSE(strategy->loss().defined());
    CHECK(strategy->save(0).empty());
  }
}

TEST_CASE("replay comes from the buffer as it was before the current batch", "[unit]") {
  const auto strategy = make({er(1, 100, 4)});
  CHECK(strategy->replay_slots() == 4);
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
  CHECK(make({said})->replay_slots() == 7);
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
  CHECK(resumed->save(1) == whole->save(0));
}

TEST_CASE("a state of another strategy or size is refused", "[unit]") {
  const auto strategy = make({er(1, 4, 2)});
  CHECK_THROWS_AS(strategy->load(0, "other", {1}), StoreError);
  CHECK_THROWS_AS(strategy->load(0, "er.buffer", range(0, 5)), StoreError);
  CHECK_THROWS_AS(strategy->load(0, "er.seen", {}), StoreError);
}

}  // namespace tandem::test::continual_strategies_unit
