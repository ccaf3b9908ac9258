// The selection kernel against a stable sort.
#include "kernels/select/select.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/philox.h"
#include "kernels/select/sieve.h"
#include "kernels/spmm/spmm.h"

namespace tandem::test::select_test {
namespace {

using Flags = std::vector<std::uint8_t>;

struct BestTargetAgain {
  ~BestTargetAgain() { kernels::spmm_use_target(""); }
};

template <class T>
std::vector<std::uint8_t> run(const std::vector<T>& scores,
                              const std::vector<std::uint8_t>* eligible, std::int64_t k,
                              bool largest) {
  std::vector<std::uint8_t> chosen(scores.size(), 9);
  REQUIRE(select_top(scores.data(), eligible ? eligible->data() : nullptr,
                     static_cast<std::int64_t>(scores.size()), k, largest,
                     chosen.data()) == kSelectDone);
  return chosen;
}

template <class T>
std::vector<std::uint8_t> reference(const std::vector<T>& scores,
                                    const std::vector<std::uint8_t>* eligible, std::int64_t k,
                                    bool largest) {
  const std::vector<double> wide(scores.begin(), scores.end());
  std::vector<std::uint8_t> chosen(scores.size(), 9);
  REQUIRE(select_top_ref(wide.data(), eligible ? eligible->data() : nullptr,
                         static_cast<std::int64_t>(wide.size()), k, largest,
                         chosen.data()) == kSelectDone);
  return chosen;
}

// Kinds of scores in which selection goes wrong first.
template <class T>
std::vector<T> scores_of_kind(int kind, std::int64_t n, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<T> scores(n);
  for (auto& s : scores) {
    switch (kind) {
      case 0:
        s = static_cast<T>(normal(random));
        break;
      case 1:
        s = static_cast<T>(std::abs(normal(random)));
        break;
      case 2:
        s = static_cast<T>(static_cast<int>(random() % 5) - 2);
        break;
      case 3:
        s = T(0.25);
        break;
      case 4:
        s = std::numeric_limits<T>::denorm_min() * static_cast<T>(random() % 7);
        break;
      default: {
        const T special[] = {T(0.0),
                             T(-0.0),
                             std::numeric_limits<T>::quiet_NaN(),
                             -std::numeric_limits<T>::quiet_NaN(),
                             std::numeric_limits<T>::infinity(),
                             -std::numeric_limits<T>::infinity(),
                             std::numeric_limits<T>::max(),
                             std::numeric_limits<T>::lowest(),
                             -std::numeric_limits<T>::denorm_min(),
                             T(1)};
        s = special[random() % 10];
      }
    }
  }
  return scores;
}

// The positions at which select_top looks first, of fewer than 2^18; scores that differ there
// mislead it.
std::vector<bool> sampled(std::int64_t n) {
  const std::int64_t stretch = static_cast<std::int64_t>(std::cbrt(static_cast<double>(n))) + 1;
  std::vector<bool> at(static_cast<std::size_t>(n));
  for (std::int64_t s = 0; s < n / stretch; ++s) {
    const std::uint64_t draw = mix64(static_cast<std::uint64_t>(s)) >> 32;
    at[s * stretch + ((draw * static_cast<std::uint64_t>(stretch)) >> 32)] = true;
  }
  return at;
}

// NaN whose upper half is that of infinity.
template <class T>
T narrow_nan(bool negative) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const T nan = std::bit_cast<T>(std::bit_cast<Bits>(std::numeric_limits<T>::infinity()) + 1);
  return negative ? -nan : nan;
}

constexpr int kManyKinds = 16;
template <class T>
std::vector<T> many_scores(int kind, std::int64_t n, std::mt19937_64& random) {
  if (kind < 6) return scores_of_kind<T>(kind, n, random);
  const auto look = sampled(n);
  auto scores = scores_of_kind<T>(0, n, random);
  for (std::int64_t i = 0; i < n; ++i) {
    const T x = scores[i], rank = static_cast<T>(i);
    switch (kind) {
      case 6:  // ascending
        scores[i] = rank;
        break;
      case 7:  // descending through zero
        scores[i] = static_cast<T>(n / 2) - rank;
        break;
      case 8:  // close together: the upper halves tell little
        scores[i] = T(1) + std::numeric_limits<T>::epsilon() * static_cast<T>(random() % 1000);
        break;
      case 9:  // nine in ten are zero, of either sign
        scores[i] = random() % 10 == 0 ? std::abs(x) : (random() % 2 == 0 ? T(0) : T(-0.0));
        break;
      case 10:  // half are zero, between negative and positive ones
        scores[i] = random() % 2 == 0 ? x : T(0);
        break;
      case 11:  // misled: the threshold is taken for one above every score but the sampled
        scores[i] = look[i] ? std::abs(x) + 10 : x;
        break;
      case 12:  // misled: the sample is one value
        scores[i] = look[i] ? T(0.5) : x;
        break;
      case 13:  // misled: few are where the sample says
        scores[i] = look[i] ? x : std::round(x * 4) * 100;
        break;
      case 14:  // infinities, and NaN that look like them in halves
        scores[i] = i % 3 == 0   ? std::numeric_limits<T>::infinity() * (i % 2 == 0 ? 1 : -1)
                    : i % 3 == 1 ? narrow_nan<T>(random() % 2 == 0)
                                 : x;
        break;
      default:  // a few of those
        if (random() % 500 == 0) scores[i] = narrow_nan<T>(random() % 2 == 0);
        if (random() % 500 == 0) scores[i] = std::numeric_limits<T>::infinity();
    }
  }
  return scores;
}

}  // namespace

TEMPLATE_TEST_CASE("select_top equals a stable sort", "[parity]", float, double) {
  using T = TestType;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int kind = 0; kind < 6; ++kind) {
    for (const std::int64_t n : {0, 1, 2, 3, 17, 255, 1000, 5001}) {
      const auto scores = scores_of_kind<T>(kind, n, random);
      std::vector<std::uint8_t> eligible(n);
      for (auto& e : eligible) e = random() % 3 == 0 ? 0 : static_cast<std::uint8_t>(random() | 1);
      const auto candidates =
          n - static_cast<std::int64_t>(std::count(eligible.begin(), eligible.end(), 0));
      for (const bool largest : {true, false}) {
        for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, n / 10, n / 3, n - 1, n}) {
          if (k < 0 || k > n) continue;
          CAPTURE(kind, n, k, largest);
          CHECK(run(scores, nullptr, k, largest) == reference(scores, nullptr, k, largest));
          const std::int64_t few = std::min(k, candidates);
          CHECK(run(scores, &eligible, few, largest) == reference(scores, &eligible, few, largest));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("select_top of many equals a stable sort", "[parity]", float, double) {
  using T = TestType;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int kind = 0; kind < kManyKinds; ++kind) {
    const std::int64_t n = 16384 + static_cast<std::int64_t>(random() % 20000);
    const auto scores = many_scores<T>(kind, n, random);
    const auto zeros = static_cast<std::int64_t>(std::count(scores.begin(), scores.end(), T(0)));
    for (const bool largest : {true, false}) {
      for (const std::int64_t k :
           {std::int64_t{1}, n / 100, n / 10, n / 2, n - zeros, n - n / 50, n - 1, n}) {
        CAPTURE(kind, n, k, largest);
        CHECK(run(scores, nullptr, k, largest) == reference(scores, nullptr, k, largest));
      }
      const std::int64_t one_of[] = {1000, 10, 2, 1};
      const auto sparsity = static_cast<std::uint64_t>(one_of[random() % 4]);
      std::vector<std::uint8_t> eligible(n);
      for (auto& e : eligible) e = random() % sparsity == 0 ? 128 : 0;
      const auto candidates =
          n - static_cast<std::int64_t>(std::count(eligible.begin(), eligible.end(), 0));
      for (const std::int64_t k : {candidates / 10, candidates / 2, candidates}) {
        CAPTURE(kind, n, k, largest, sparsity);
        CHECK(run(scores, &eligible, k, largest) == reference(scores, &eligible, k, largest));
      }
    }
  }
}

TEST_CASE("select_top reuses what a thread keeps whatever came before", "[parity]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 12; ++round) {
    const std::int64_t n = 1 + static_cast<std::int64_t>(random() % 60000);
    const auto scores = scores_of_kind<float>(round % 6, n, random);
    const auto k = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
    CAPTURE(round, n, k);
    CHECK(run(scores, nullptr, k, round % 2 == 0) == reference(scores, nullptr, k, round % 2 == 0));
  }
}

TEST_CASE("select_top past the caches, at any alignment", "[parity]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::int64_t n = (std::int64_t{1} << 22) + 77, k = n / 3;
  std::vector<float> scores(n), sorted;
  for (auto& s : scores) s = static_cast<float>(random() % 100000);
  sorted = scores;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const float lowest = sorted[k - 1];
  auto ties = k - std::count_if(scores.begin(), scores.end(), [&](float s) { return s > lowest; });
  std::vector<std::uint8_t> expected(n);
  for (std::int64_t i = 0; i < n; ++i) {
    expected[i] = scores[i] > lowest || (scores[i] == lowest && ties-- > 0);
  }
  for (const std::int64_t shift : {0, 1, 63}) {
    std::vector<std::uint8_t> chosen(n + shift + 1, 9);
    REQUIRE(select_top(scores.data(), nullptr, n, k, true, chosen.data() + shift) == kSelectDone);
    CHECK(std::equal(expected.begin(), expected.end(), chosen.begin() + shift));
    CHECK(std::count(chosen.begin(), chosen.begin() + shift, 9) == shift);
    CHECK(chosen.back() == 9);
  }
}

TEMPLATE_TEST_CASE("split and expand give the same on every instruction set", "[parity]",
                   (std::pair<float, std::uint16_t>), (std::pair<float, std::uint32_t>),
                   (std::pair<double, std::uint32_t>), (std::pair<double, std::uint64_t>)) {
  using T = typename TestType::first_type;
  using Unit = typename TestType::second_type;
  using selecting::kBlock, selecting::KeyOf;
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto n = static_cast<std::int64_t>(random() % (kBlock + 1));
    const auto scores = scores_of_kind<T>(round % 6, n, random);
    Flags eligible(n + 1);
    for (auto& e : eligible) e = static_cast<std::uint8_t>(random() % 3);
    const bool largest = random() % 2 == 0, masked = random() % 2 == 0;
    const auto flip = selecting::flip_of<T>(largest);
    const auto other = scores_of_kind<T>(round % 6, 2, random);
    const KeyOf<T> a = selecting::key_of(other[0], flip), b = selecting::key_of(other[1], flip);
    const KeyOf<T> low = std::min(a, b), high = std::max(std::max(a, b), KeyOf<T>(low + 1));
    const auto sieve = [&] {
      if constexpr (sizeof(Unit) < sizeof(T)) {
        return selecting::Halves<T>(low, high).sieve(largest);
      } else {
        return selecting::sieve_of_keys<T>(low, high, largest);
      }
    }();
    for (const std::string& target : kernels::spmm_targets()) {
      REQUIRE(kernels::spmm_use_target(target));
      CAPTURE(target, round, n, largest, masked, low, high);
      std::vector<std::uint64_t> between(kBlock / 64, 5), above = between;
      const std::int64_t count = split(scores.data(), masked ? eligible.data() : nullptr, n, sieve,
                                       between.data(), above.data());
      std::int64_t wrong = 0, expected = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const KeyOf<T> key = selecting::key_of(scores[i], flip);
        const bool allowed = !masked || eligible[i] != 0;
        bool is_between = key > low && key < high && key != 0, is_above = key >= high;
        if constexpr (sizeof(Unit) < sizeof(T)) {  // what shares a half with either, or infinity
          const selecting::Halves<T> halves(low, high);
          const KeyOf<T> ends[] = {halves.lowest(), halves.highest()};
          const bool zero = std::abs(scores[i]) == 0;
          const bool top = std::bit_cast<KeyOf<T>>(std::abs(scores[i])) >> (4 * sizeof(T)) ==
                           selecting::Layout<T>::kInfinity >> (4 * sizeof(T));
          if (top || zero) continue;
          is_between = key >= ends[0] && key <= ends[1] && key != 0;
          is_above = key > ends[1];
        }
        wrong += (between[i / 64] >> (i % 64) & 1) != (is_between && allowed);
        wrong += (above[i / 64] >> (i % 64) & 1) != (is_above && allowed);
      }
      for (std::int64_t i = n; i < (n + 63) / 64 * 64; ++i) {
        wrong += (between[i / 64] | above[i / 64]) >> (i % 64) & 1;
      }
      CHECK(wrong == 0);
      for (std::int64_t w = 0; w < (n + 63) / 64; ++w) expected += std::popcount(above[w]);
      CHECK(count == expected);
      Flags flags(n + 70, 9), plain = flags;
      const std::int64_t shift = static_cast<std::int64_t>(random() % 66);
      for (std::int64_t i = 0; i < n; ++i) plain[shift + i] = above[i / 64] >> (i % 64) & 1;
      selecting::expand(above.data(), n, random() % 2 == 0, flags.data() + shift);
      CHECK(flags == plain);
    }
  }
}

TEMPLATE_TEST_CASE("select_top of many in lines that are alike, on every instruction set",
                   "[parity]", float, double) {
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::int64_t n = (std::int64_t{1} << 18) + 4321;
  for (int kind = 0; kind < 3; ++kind) {
    auto scores = scores_of_kind<TestType>(kind == 2 ? 2 : 0, n, random);
    for (std::int64_t i = 0; i < n && kind == 1; ++i) scores[i] = scores[i / 500 * 500];
    Flags eligible(n);
    for (auto& e : eligible) e = random() % 3 == 0 ? 0 : 255;
    for (const std::string& target : kernels::spmm_targets()) {
      REQUIRE(kernels::spmm_use_target(target));
      const bool largest = random() % 2 == 0;
      CAPTURE(kind, target, largest);
      for (const std::int64_t k : {n / 300, n / 3}) {
        CHECK(run(scores, nullptr, k, largest) == reference(scores, nullptr, k, largest));
        CHECK(run(scores, &eligible, k, largest) == reference(scores, &eligible, k, largest));
      }
    }
  }
}

TEST_CASE("select_top: ties, signed zeros and NaN by hand", "[parity]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(run<float>({1, 1, 1, 1}, nullptr, 2, true) == Flags{1, 1, 0, 0});
  CHECK(run<float>({0.0f, -0.0f, 0.0f}, nullptr, 2, true) == Flags{1, 1, 0});
  CHECK(run<float>({-0.0f, 0.0f, -0.0f}, nullptr, 2, false) == Flags{1, 1, 0});
  CHECK(run<float>({nan, -3, nan, 2}, nullptr, 2, true) == Flags{0, 1, 0, 1});
  CHECK(run<float>({nan, -3, nan, 2}, nullptr, 3, false) == Flags{1, 1, 0, 1});
  CHECK(run<float>({-INFINITY, nan}, nullptr, 1, true) == Flags{1, 0});
  CHECK(run<float>({nan, INFINITY}, nullptr, 1, false) == Flags{0, 1});
}

TEST_CASE("select_top refuses impossible arguments and then writes nothing", "[parity]") {
  const std::vector<float> scores = {3, 1, 2};
  const std::vector<std::uint8_t> eligible = {1, 0, 1};
  std::vector<std::uint8_t> chosen(3, 9);
  CHECK(select_top(scores.data(), eligible.data(), 3, 3, true, chosen.data()) == kSelectTooFew);
  CHECK(select_top(scores.data(), nullptr, 3, 4, true, chosen.data()) == kSelectTooFew);
  CHECK(select_top(scores.data(), nullptr, -1, 0, true, chosen.data()) == kSelectBadArguments);
  CHECK(select_top(scores.data(), nullptr, 3, -1, true, chosen.data()) == kSelectBadArguments);
  CHECK(select_top(static_cast<const float*>(nullptr), nullptr, 3, 1, true, chosen.data()) ==
        kSelectBadArguments);
  CHECK(chosen == std::vector<std::uint8_t>(3, 9));
}

}  // namespace tandem::test::select_test
