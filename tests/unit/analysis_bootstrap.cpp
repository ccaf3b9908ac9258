// Interquartile means and medians by hand; intervals against every resample of few values.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "analysis/bootstrap.h"

namespace tandem::test::analysis_bootstrap_unit {

TEST_CASE("interquartile means drop a quarter at each end, rounded down", "[unit]") {
  CHECK(interquartile_mean({1, 2, 30}) == Approx(11));
  CHECK(interquartile_mean({100, 1, 3, 2, 4}) == Approx(3));
  CHECK(interquartile_mean({8, 1, 2, 3, 4, 5, 6, 7}) == Approx(4.5));
  CHECK(interquartile_mean({5}) == Approx(5));
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 3, 2}) == Approx(2.5));
}

// All 27 resamples of three values are as likely; the sum of 1, 2 and 4 is at its 2.5th percentile
// the least, 3 (one in 27 is more than that), and at its 97.5th the most, 12.
TEST_CASE("an interval is that of all resamples", "[unit]") {
  const auto interval = bootstrap_interval({{1, 2, 4}}, interquartile_mean);
  REQUIRE(interval);
  CHECK(interval->low == Approx(1));
  CHECK(interval->high == Approx(4));
  // Of ten zeros and ones, five each, the mean is a tenth of a binomial number: its 2.5th
  // percentile is 2 (1.1% are at most 1, 5.5% at most 2), its 97.5th 8.
  const auto mean = [](std::vector<double> values) {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum / static_cast<double>(values.size());
  };
  const auto binomial = bootstrap_interval({{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}}, mean);
  CHECK(binomial->low == Approx(0.2));
  CHECK(binomial->high == Approx(0.8));
  // Within strata nothing varies here, so that nothing does at all.
  const auto parted = bootstrap_interval({{0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}}, mean);
  CHECK(parted->low == Approx(0.5));
  CHECK(parted->high == Approx(0.5));
  CHECK_FALSE(bootstrap_interval({{1, 2}, {3, 4}}, median));
}

TEST_CASE("an interval is the same whenever it is asked for", "[unit]") {
  const Strata strata = {{0.1, 0.7, 0.3, 0.35, 0.9}, {0.2, 0.25, 0.8}};
  const auto first = bootstrap_interval(strata, interquartile_mean),
             again = bootstrap_interval(strata, interquartile_mean);
  CHECK(first->low == again->low);
  CHECK(first->high == again->high);
  CHECK(first->low < first->high);
}

}  // namespace tandem::test::analysis_bootstrap_unit
