// Distinct ranks, their mapping to positions, and keyed normal draws.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "topology/random_ranks.h"

namespace tandem::test::topology_random_ranks_unit {

TEST_CASE("random_ranks draws k distinct ranks in order", "[unit]") {
  for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 0}, {1, 1}, {1, 0}, {10, 10}, {100, 7}, {100000, 3}, {1000000, 1000}}) {
    CAPTURE(n, k);
    const auto ranks = random_ranks({5}, n, k);
    CHECK(ranks == random_ranks({5}, n, k));
    REQUIRE(static_cast<std::int64_t>(ranks.size()) == k);
    CHECK(std::is_sorted(ranks.begin(), ranks.end()));
    CHECK(std::set<std::int64_t>(ranks.begin(), ranks.end()).size() == ranks.size());
    if (k > 0) CHECK((ranks.front() >= 0 && ranks.back() < n));
  }
  CHECK(random_ranks({5}, 1000, 10) != random_ranks({6}, 1000, 10));
}

TEST_CASE("random_ranks is uniform over ranks", "[unit]") {
  // 4000 samples of 3 of 12: each rank is hit 1000 times, standard deviation 27.4.
  std::vector<int> hits(12, 0);
  for (std::uint64_t key = 0; key < 4000; ++key) {
    for (const auto rank : random_ranks({mix64(key)}, 12, 3)) ++hits[rank];
  }
  for (const int count : hits) CHECK(std::abs(count - 1000) < 5 * 27.4);
}

TEST_CASE("ranks map to eligible positions in index order", "[unit]") {
  const std::vector<std::uint8_t> eligible = {0, 1, 1, 0, 0, 1, 1, 0, 1};
  std::vector<std::uint8_t> chosen(eligible.size(), 9);
  mark_ranks({0, 2, 4}, eligible.data(), static_cast<std::int64_t>(eligible.size()), chosen.data());
  CHECK(chosen == std::vector<std::uint8_t>{0, 1, 0, 0, 0, 1, 0, 0, 1});
  mark_ranks({0, 3}, nullptr, static_cast<std::int64_t>(chosen.size()), chosen.data());
  CHECK(chosen == std::vector<std::uint8_t>{1, 0, 0, 1, 0, 0, 0, 0, 0});
  // The same set told by what is occupied.
  CHECK(ranks_outside({0, 2, 4}, {0, 3, 4, 7}) == std::vector<std::int64_t>{1, 5, 8});
  CHECK(ranks_outside({0, 1}, {}) == std::vector<std::int64_t>{0, 1});
  CHECK(ranks_outside({0, 1}, {0, 1, 2}) == std::vector<std::int64_t>{3, 4});
}

TEST_CASE("normal draws have mean 0 and variance 1, and are keyed by position", "[unit]") {
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = normal_at({77}, i);
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(normal_at({77}, 3) == normal_at({77}, 3));
  CHECK(normal_at({77}, 3) != normal_at({78}, 3));
}

TEST_CASE("topology keys differ by run, layer and update", "[unit]") {
  std::set<std::uint64_t> keys;
  for (std::uint64_t run : {1, 2}) {
    for (int layer = 0; layer < 10; ++layer) {
      for (int update = 0; update < 10; ++update) keys.insert(topology_key(run, layer, update));
    }
  }
  CHECK(keys.size() == 200);
}

}  // namespace tandem::test::topology_random_ranks_unit
