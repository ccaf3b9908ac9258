// Tallies of rows that come in parts against sums of all of them at once.
#include "kernels/tally/tally.h"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace tandem::test::tally_test {

using namespace tandem::kernels;

TEST_CASE("a tally of rows in parts is that of all rows one after the other", "[parity]") {
  constexpr std::int64_t kReplicas = 3, kRows = 37, kRowBytes = (kRows + 7) / 8;
  const std::vector<std::vector<std::int64_t>> parts = {{10, 7, 0}, {5, 10, 3}, {10, 0, 10}};
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(0, 3);
  std::vector<std::vector<float>> losses(kReplicas);
  std::vector<std::vector<std::uint8_t>> hits(kReplicas);
  std::vector<double> sums(kReplicas, 0);
  std::vector<std::int64_t> right(kReplicas, 0), before(kReplicas, 0);
  std::vector<std::uint8_t> bits(kReplicas * kRowBytes, 0);
  for (const auto& counts : parts) {
    constexpr std::int64_t kWidth = 10;
    std::vector<float> part(kReplicas * kWidth, 1e9f);  // beyond a count lies what must not count
    std::vector<std::uint8_t> part_hits(kReplicas * kWidth, 1);
    for (std::int64_t r = 0; r < kReplicas; ++r) {
      const auto own = static_cast<std::size_t>(r);
      for (std::int64_t i = 0; i < counts[own]; ++i) {
        const auto at = static_cast<std::size_t>(r * kWidth + i);
        part[at] = uniform(generator);
        part_hits[at] = generator() % 2 == 0 ? 1 : 0;
        losses[own].push_back(part[at]);
        hits[own].push_back(part_hits[at]);
      }
    }
    const TallyTerm<float> term{part.data(), part_hits.data(), counts.data(), before.data(),
                                kWidth,      kReplicas,        kRowBytes};
    add_tally(term, sums.data(), right.data(), bits.data());
    for (std::size_t r = 0; r < kReplicas; ++r) before[r] += counts[r];
  }
  for (std::size_t r = 0; r < kReplicas; ++r) {
    CAPTURE(r);
    double sum = 0;
    std::int64_t count = 0;
    for (const float loss : losses[r]) sum += loss;
    for (std::size_t i = 0; i < hits[r].size(); ++i) {
      count += hits[r][i];
      CHECK(((bits[r * kRowBytes + i / 8] >> (i % 8)) & 1) == hits[r][i]);
    }
    CHECK(sums[r] == sum);
    CHECK(right[r] == count);
    CHECK(before[r] == static_cast<std::int64_t>(losses[r].size()));
  }
}

}  // namespace tandem::test::tally_test
