// Factors of Student's t from its printed tables; tests from a reference implementation's output.
#include <catch2/catch.hpp>
#include <cmath>
#include <utility>

#include "analysis/statistics.h"
#include "core/error.h"

namespace tandem::test::analysis_statistics_unit {
namespace {

TEST_CASE("Student's factors are those of the tables", "[unit]") {
  const std::pair<int, double> factors[] = {{2, 12.706}, {3, 4.303},  {4, 3.182}, {5, 2.776},
                                            {6, 2.571},  {10, 2.262}, {20, 2.093}};
  for (const auto& [n, t] : factors) {
    INFO("n = " << n);
    CHECK(std::abs(student_t(0.975, n - 1) - t) < 5e-4);
  }
}

TEST_CASE("mean, sample deviation and half width", "[unit]") {
  const Summary s = summarize({91.2, 90.8, 91.5, 91.0, 91.3});
  CHECK(s.n == 5);
  CHECK(s.mean == Approx(91.16).epsilon(1e-12));
  REQUIRE(s.sd);
  CHECK(*s.sd == Approx(0.27018512172213).epsilon(1e-12));
  REQUIRE(s.half);
  CHECK(*s.half == Approx(2.7764451051978 * 0.27018512172213 / std::sqrt(5.0)).epsilon(1e-10));
}

TEST_CASE("fewer than three values have no interval", "[unit]") {
  CHECK(summarize({}).n == 0);
  CHECK_FALSE(summarize({}).sd);
  CHECK_FALSE(summarize({1}).sd);
  CHECK(summarize({1}).mean == 1);
  CHECK_FALSE(summarize({1, 2}).half);
  CHECK(*summarize({1, 2}).sd == Approx(std::sqrt(0.5)));
  CHECK(summarize({1, 2, 3}).half);
  CHECK(*summarize({2, 2, 2}).half == 0);
  CHECK(*summarize({0.1, 0.1, 0.1}).half == 0);  // 0.3 / 3 is not 0.1
}

TEST_CASE("the paired test", "[unit]") {
  const PairedTest t = paired_t({91.2, 90.8, 91.5, 91.0, 91.3}, {90.1, 90.9, 90.4, 90.2, 90.7});
  REQUIRE(t.t);
  CHECK(*t.t == Approx(3.16227766016834).epsilon(1e-10));
  CHECK(*t.p == Approx(0.03410942316741092).epsilon(1e-10));
  CHECK(t.mean_difference == Approx(0.7).epsilon(1e-10));
  CHECK(*t.half == Approx(2.7764451051978 * 0.7 / 3.16227766016834).epsilon(1e-10));
  CHECK_FALSE(paired_t({1, 2}, {2, 4}).t);
  CHECK_FALSE(paired_t({1, 2, 3}, {2, 3, 4}).t);                          // no spread: no test
  CHECK_FALSE(paired_t({0.892, 0.894, 0.896}, {0.872, 0.874, 0.876}).t);  // rounding alone
  CHECK(*paired_t({0.892, 0.894, 0.896}, {0.872, 0.874, 0.876}).half == 0);
  CHECK_THROWS_AS(paired_t({1}, {1, 2}), ConfigError);
}

// x = 1 2 3 4, y = 1 3 2 6: means 2.5 and 3, Sxx = 5, Syy = 4 + 0 + 1 + 9 = 14,
// Sxy = 3 + 0 - 0.5 + 4.5 = 7, R^2 = 49 / 70.
TEST_CASE("the share of variance that a line explains", "[unit]") {
  CHECK(line_share({1, 2, 3, 4}, {1, 3, 2, 6}).value() == Approx(0.7).epsilon(1e-12));
  CHECK(line_share({4, 3, 2, 1}, {10, 30, 20, 60}).value() == Approx(0.7).epsilon(1e-12));
  CHECK(line_share({1, 2, 3}, {2, 1, 2}).value() == Approx(0).margin(1e-15));
  CHECK_FALSE(line_share({1, 2}, {1, 2}));
  CHECK_FALSE(line_share({2, 2, 2}, {1, 2, 3}));
  CHECK_FALSE(line_share({1, 2, 3}, {0.1, 0.1, 0.1}));
  CHECK_THROWS_AS(line_share({1, 2, 3}, {1, 2}), ConfigError);
}

// y = 1 3 | 2 6 6: mean 3.6, Syy = 6.76 + 0.36 + 2.56 + 5.76 + 5.76 = 21.2; the groups' means are 2
// and 14/3, between them 2 * 1.6^2 + 3 * (16/15)^2 = 5.12 + 3.41333 = 8.53333.
TEST_CASE("the share of variance between groups", "[unit]") {
  CHECK(group_share({"a", "a", "b", "b", "b"}, {1, 3, 2, 6, 6}).value() ==
        Approx((5.12 + 3 * 256.0 / 225) / 21.2).epsilon(1e-12));
  CHECK(group_share({"a", "b", "a", "b"}, {1, 2, 1, 2}).value() == Approx(1).epsilon(1e-12));
  CHECK_FALSE(group_share({"a", "a"}, {1, 2}));
  CHECK_FALSE(group_share({"a", "b"}, {1, 2}));
  CHECK_FALSE(group_share({"a", "a", "b"}, {1, 1, 1}));
  CHECK_THROWS_AS(group_share({"a"}, {1, 2}), ConfigError);
}

TEST_CASE("Holm's procedure", "[unit]") {
  using Flags = std::vector<bool>;
  CHECK(holm_rejects({}, 0.05).empty());
  CHECK(holm_rejects({0.05}, 0.05) == Flags{true});
  // 0.005 <= 0.05 / 4, 0.01 <= 0.05 / 3, 0.03 > 0.05 / 2, and there it ends.
  CHECK(holm_rejects({0.01, 0.04, 0.03, 0.005}, 0.05) == Flags{true, false, false, true});
}

}  // namespace
}  // namespace tandem::test::analysis_statistics_unit
