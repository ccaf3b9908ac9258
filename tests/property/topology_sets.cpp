// Active sets in both forms and mixed against std::set.
#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <random>
#include <set>

#include "topology/active_set.h"

namespace tandem::test::topology_sets_property {
namespace {

using Positions = std::set<std::int64_t>;

ActiveSet as_bits(const Positions& positions, std::int64_t size) {
  std::vector<std::uint8_t> bits(static_cast<std::size_t>((size + 7) / 8), 0);
  for (const std::int64_t i : positions) {
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (1 << (i % 8)));
  }
  return ActiveSet::of_bits(std::move(bits));
}

ActiveSet as_list(const Positions& positions) {
  return ActiveSet::of_positions({positions.begin(), positions.end()});
}

Positions random_set(std::mt19937_64& random, std::int64_t size) {
  const std::uint64_t share = random() % 101;  // in percent, with empty and full ones
  Positions positions;
  for (std::int64_t i = 0; i < size; ++i) {
    if (random() % 100 < share) positions.insert(i);
  }
  return positions;
}

Positions of(const ActiveSet& set) {
  const auto positions = set.positions();
  CHECK(std::is_sorted(positions.begin(), positions.end()));
  CHECK(set.count() == static_cast<std::int64_t>(positions.size()));
  return {positions.begin(), positions.end()};
}

}  // namespace

TEST_CASE("active sets agree with std::set in every form", "[property]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const auto size = static_cast<std::int64_t>(random() % 300);
    CAPTURE(round, size);
    const Positions a = random_set(random, size), b = random_set(random, size);
    Positions united, without, common;
    std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::inserter(united, united.end()));
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(),
                        std::inserter(without, without.end()));
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(),
                          std::inserter(common, common.end()));
    CHECK(as_bits(a, size).hash() == as_list(a).hash());
    CHECK((as_list(a).hash() == as_bits(b, size).hash()) == (a == b));
    for (const ActiveSet& mine : {as_bits(a, size), as_list(a)}) {
      CHECK(of(mine) == a);
      CHECK(of(ActiveSet::load(mine.save())) == a);
      CHECK(ActiveSet::load(mine.save()).save() == mine.save());
      for (const ActiveSet& other : {as_bits(b, size), as_list(b)}) {
        CHECK(of(mine.united(other)) == united);
        CHECK(of(mine.without(other)) == without);
        CHECK(mine.count_common(other) == static_cast<std::int64_t>(common.size()));
        CHECK(mine.count_without(other) == static_cast<std::int64_t>(without.size()));
      }
    }
  }
}

}  // namespace tandem::test::topology_sets_property
