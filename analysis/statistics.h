// Spread over seeds. The interval is Student's: half = t(0.975, n-1) sd / sqrt(n); below three
// values there is none, since with two its factor is 12.7 and says nothing.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace tandem {

// The value to 12 significant digits: sums of the same numbers in another order become equal.
double without_rounding(double value);

struct Summary {
  std::size_t n = 0;
  double mean = 0;             // meaningless where n = 0
  std::optional<double> sd;    // of the sample (n - 1); from two values on
  std::optional<double> half;  // of the 95% interval of the mean; from three values on
};
Summary summarize(const std::vector<double>& values);

// Quantile of Student's t distribution.
double student_t(double probability, double degrees_of_freedom);

struct PairedTest {
  std::size_t n = 0;
  double mean_difference = 0;  // of first - second
  std::optional<double> sd;    // of the differences
  std::optional<double> t, p;  // two-sided; from three pairs on, where the differences vary
  std::optional<double> half;  // of the difference's 95% interval; from three pairs on
  bool out_of_reach = false;   // no p: with so few values the test can't have one below the level
};
// Paired by position; differences that vary by no more than rounding don't vary. Throws ConfigError
// where the lengths differ.
// `scale`: of the numbers that the values were computed from, where that is more than the values'.
PairedTest paired_t(const std::vector<double>& first, const std::vector<double>& second,
                    double scale = 0);

// The difference in the mean that a two-sided paired t test at this level finds with this
// probability, n pairs whose differences have this deviation; by the noncentral t distribution.
// A single test: no correction for others.
// Nothing below three pairs or without spread.
std::optional<double> detectable_difference(double sd, std::size_t n, double level, double power);

// The same in standard errors of the difference, of any t test with these degrees of freedom.
double detectable_noncentrality(double freedom, double level, double power);

// Shares of the variance of y, in [0, 1]. Throw ConfigError where the lengths differ.
// By a straight line in x: R^2 = Sxy^2 / (Sxx Syy), Sab = sum of (a - mean a)(b - mean b); nothing
// below three points, or where x or y don't vary.
std::optional<double> line_share(const std::vector<double>& x, const std::vector<double>& y);
// By the group alone: eta^2 = sum over groups of n_g (mean_g - mean)^2 / Syy; nothing with one
// group, as many groups as points, or where y doesn't vary.
std::optional<double> group_share(const std::vector<std::string>& group,
                                  const std::vector<double>& y);

constexpr double kSignificance = 0.05;  // the level of all tests that tables make

// Which hypotheses Holm's step-down procedure rejects at this family-wise level: by rising p, the
// k-th of m (from 0) as long as p <= level / (m - k).
std::vector<bool> holm_rejects(const std::vector<double>& p, double level);
// The least level at which Holm's procedure rejects each: the running maximum of p (m - k) by
// rising p, at most 1.
std::vector<double> holm_adjusted(const std::vector<double>& p);

}  // namespace tandem
