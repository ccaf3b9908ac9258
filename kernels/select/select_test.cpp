// The selection kernel against a stable sort.
#include "kernels/select/select.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tandem {
namespace {

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

TEST_CASE("select_top: ties, signed zeros and NaN by hand", "[parity]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  using Flags = std::vector<std::uint8_t>;
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

}  // namespace tandem
