// Streams of draws: apart from each other, in range, even.
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <string>

#include "core/philox.h"

namespace tandem::test::core_philox_unit {

TEST_CASE("named streams, seeds and sub-keys all differ", "[unit]") {
  std::set<std::uint64_t> keys, first;
  std::size_t count = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (const std::string name : {"data", "classes", "init", "topology", "streams"}) {
      const std::uint64_t key = stream_key(seed, name);
      for (const std::uint64_t each : {key, sub_key(key, 0), sub_key(key, 1)}) {
        keys.insert(each);
        first.insert(RandomStream{each}.bits(0));
        ++count;
      }
    }
  }
  CHECK(keys.size() == count);
  CHECK(first.size() == count);
}

TEST_CASE("a draw depends on its key and index alone", "[unit]") {
  const RandomStream stream{stream_key(3, "data")};
  const std::uint64_t tenth = stream.bits(10);
  CHECK(stream.bits(11) != tenth);
  CHECK(RandomStream{stream.key}.bits(10) == tenth);
}

TEST_CASE("uniform lies in [0, 1) with the right mean and variance", "[unit]") {
  const RandomStream stream{stream_key(1, "init")};
  const int n = 100'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = stream.uniform(static_cast<std::uint64_t>(i));
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
    squares += u * u;
  }
  const double mean = sum / n;
  CHECK(std::abs(mean - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(squares / n - mean * mean - 1.0 / 12) < 0.002);
}

TEST_CASE("below is even and stays below", "[unit]") {
  const RandomStream stream{stream_key(1, "topology")};
  std::vector<int> counts(7, 0);
  const int n = 70'000;
  for (int i = 0; i < n; ++i) {
    const auto value = stream.below(static_cast<std::uint64_t>(i), 7);
    REQUIRE(value < 7);
    ++counts[value];
  }
  double chi_squared = 0;
  for (const int count : counts) chi_squared += std::pow(count - n / 7.0, 2) / (n / 7.0);
  CHECK(chi_squared < 25);  // 6 degrees of freedom: p = 0.0003
  CHECK(stream.below(0, 1) == 0);
}

}  // namespace tandem::test::core_philox_unit
