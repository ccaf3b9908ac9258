// The digest against its sentence, written out in 128-bit integers and backwards.
#include "kernels/digest/digest.h"

#include <catch2/catch.hpp>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace tandem::test::digest_test {
namespace {

constexpr unsigned __int128 kTwoTo64 = static_cast<unsigned __int128>(1) << 64;

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(a) * b % kTwoTo64);
}

// SplitMix64 as its authors wrote it, asked i + 1 times.
std::uint64_t split_mix(std::uint64_t seed, std::int64_t i) {
  std::uint64_t state = seed, z = 0;
  for (std::int64_t k = 0; k <= i; ++k) {
    state += 0x9e3779b97f4a7c15;
    z = state;
    z = times(z ^ (z >> 30), 0xbf58476d1ce4e5b9);
    z = times(z ^ (z >> 27), 0x94d049bb133111eb);
    z ^= z >> 31;
  }
  return z;
}

template <class Bits>
std::uint64_t plain(const std::vector<Bits>& bits) {
  unsigned __int128 sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(bits.size()) - 1; i >= 0; --i) {
    sum = (sum + split_mix(bits[static_cast<std::size_t>(i)], i)) % kTwoTo64;
  }
  return static_cast<std::uint64_t>(sum);
}

template <class Bits>
std::vector<Bits> random_bits(std::size_t n, std::mt19937_64& random) {
  std::vector<Bits> bits(n);
  for (Bits& each : bits) each = static_cast<Bits>(random());
  for (std::size_t i = 0; i < n; i += 7) bits[i] = i % 2 == 0 ? 0 : static_cast<Bits>(-1);
  return bits;
}

template <class Bits>
std::uint64_t digest_of(const std::vector<Bits>& bits) {
  return kernels::digest(bits.data(), static_cast<std::int64_t>(bits.size()));
}

}  // namespace

TEMPLATE_TEST_CASE("a digest is the sum of what its elements seed", "[parity]", std::uint32_t,
                   std::uint64_t) {
  std::mt19937_64 random(7);
  for (const std::size_t n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 257, 1000}) {
    CAPTURE(n);
    const auto bits = random_bits<TestType>(n, random);
    CHECK(digest_of(bits) == plain(bits));
  }
  CHECK(digest_of(std::vector<TestType>{}) == 0);
}

TEMPLATE_TEST_CASE("a digest tells every bit and every two places apart", "[parity]", std::uint32_t,
                   std::uint64_t) {
  std::mt19937_64 random(11);
  std::vector<TestType> bits = random_bits<TestType>(40, random);
  std::set<std::uint64_t> seen = {digest_of(bits)};
  for (TestType& each : bits) {
    for (int b = 0; b < std::numeric_limits<TestType>::digits; ++b) {
      each ^= static_cast<TestType>(TestType{1} << b);
      CHECK(seen.insert(digest_of(bits)).second);
      each ^= static_cast<TestType>(TestType{1} << b);
    }
  }
  for (std::size_t i = 0; i < bits.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (bits[i] == bits[j]) continue;
      std::swap(bits[i], bits[j]);
      CHECK(seen.insert(digest_of(bits)).second);
      std::swap(bits[i], bits[j]);
    }
  }
  bits.push_back(0);  // a zero at the end counts
  CHECK(seen.insert(digest_of(bits)).second);
}

}  // namespace tandem::test::digest_test
