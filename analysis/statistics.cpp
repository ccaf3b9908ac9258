// Sample statistics; quantiles and tails come from Boost.Math.
#include "analysis/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace tandem {
namespace {

constexpr std::size_t kLeastForInterval = 3;

}  // namespace

double student_t(double probability, double degrees_of_freedom) {
  return boost::math::quantile(boost::math::students_t(degrees_of_freedom), probability);
}

Summary summarize(const std::vector<double>& values) {
  Summary s;
  s.n = values.size();
  if (s.n == 0) return s;
  const auto n = static_cast<double>(s.n);
  s.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (s.n < 2) return s;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) s.mean = *low;  // no spread that is only the sum's rounding
  double squares = 0;
  for (const double x : values) squares += (x - s.mean) * (x - s.mean);
  s.sd = std::sqrt(squares / (n - 1));
  if (s.n >= kLeastForInterval) s.half = student_t(0.975, n - 1) * *s.sd / std::sqrt(n);
  return s;
}

PairedTest paired_t(const std::vector<double>& first, const std::vector<double>& second) {
  if (first.size() != second.size())
    throw ConfigError(fmt::format(
        "a paired test needs as many values on both sides, not {} and {}; keep the common seeds",
        first.size(), second.size()));
  std::vector<double> differences;
  for (std::size_t i = 0; i < first.size(); ++i) differences.push_back(first[i] - second[i]);
  const Summary s = summarize(differences);
  PairedTest test;
  test.n = s.n;
  test.mean_difference = s.mean;
  if (!s.half || *s.sd == 0) return test;
  const auto n = static_cast<double>(s.n);
  test.t = s.mean / (*s.sd / std::sqrt(n));
  const boost::math::students_t distribution(n - 1);
  test.p = 2 * boost::math::cdf(boost::math::complement(distribution, std::abs(*test.t)));
  return test;
}

}  // namespace tandem
