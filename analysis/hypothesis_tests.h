// Tests of whether two sides of runs differ. A test registers itself; tables name it by `test =
// NAME`.
//
//   paired_t      Student's t of the differences d_i = x_i - y_i, which are taken as normal
//   welch         Welch's t of the means of two sides whose variances may differ, not paired
//                 (degrees of freedom by Satterthwaite)
//   wilcoxon      signed ranks of the differences; zeros have ranks that count for neither side
//                 (Pratt), equal ones share the mean of theirs
//   mann_whitney  rank sums of two sides, not paired; equal values share the mean of their ranks
//
// Rank tests are exact: p is twice the lesser tail over all signs, or over all ways to part the
// values, given the ties (above kMostExact values by the normal distribution, corrected for ties).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "analysis/statistics.h"

namespace tandem {

struct TestResult {
  double statistic = 0;  // t; the lesser sum of signed ranks; U of the first side
  double p = 1;          // two-sided
  double least_p = 0;    // the least that this test has with so many values and ties; 0: any is had
};

struct HypothesisTest {
  std::string name, text;  // "the exact Wilcoxon signed-rank test"
  bool paired = true;
  // Nothing where the test says nothing: too few values, or none that vary. Of a paired test both
  // sides have as many values.
  std::optional<TestResult> (*run)(const std::vector<double>& first,
                                   const std::vector<double>& second) = nullptr;
  // The true difference of means that the test finds at this level with this power, given the
  // spread of these values; null: there is no formula for it.
  std::optional<double> (*detectable)(const std::vector<double>& first,
                                      const std::vector<double>& second, double level,
                                      double power) = nullptr;
};

constexpr std::size_t kMostExact = 100;  // values of a rank test

const std::vector<HypothesisTest>& hypothesis_tests();
std::vector<std::string> hypothesis_test_names();
// Throws ConfigError with the nearest names.
const HypothesisTest& hypothesis_test(const std::string& name);

// The paired difference of two sides, with the p of this test where it has one; the interval is
// Welch's where the test is not paired. `scale` as paired_t() has it.
PairedTest compare(const HypothesisTest& test, const std::vector<double>& first,
                   const std::vector<double>& second, double scale = 0);

// Sizes of an effect, by name: what a difference is beside the spread.
//   dz           mean(d) / sd(d) of the paired differences, times 1 - 3 / (4 n - 5) (Hedges)
//   g            difference of means / pooled deviation, times 1 - 3 / (4 (m + n) - 9) (Hedges)
//   superiority  P(x > y) + P(x = y) / 2 of values drawn from the two sides: U / (m n)
struct EffectSize {
  std::string name, text;
  std::optional<double> (*of)(const std::vector<double>& first, const std::vector<double>& second);
};
const std::vector<EffectSize>& effect_sizes();
const EffectSize& effect_size(const std::string& name);  // ConfigError with the nearest names

// Of the interval that compare() gives, in words.
std::string interval_text(const HypothesisTest& test);

// Ranks from 1 on, equal values having the mean of theirs.
std::vector<double> mid_ranks(const std::vector<double>& values);

}  // namespace tandem
