// Sample statistics; quantiles and tails come from Boost.Math.
#include "analysis/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kLeastForInterval = 3;

// Values that are apart by the rounding of what they were subtracted from become equal.
void drop_rounding(std::vector<double>& differences, double largest) {
  constexpr double kRounding = 1e-14;
  if (differences.empty()) return;
  const auto [low, high] = std::minmax_element(differences.begin(), differences.end());
  if (*high - *low <= kRounding * largest)
    std::fill(differences.begin(), differences.end(), (*low + *high) / 2);
}

void expect_same(std::size_t a, std::size_t b) {
  if (a != b) throw ConfigError(fmt::format("{} values have {} beside them", b, a));
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool varies(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [&](double x) { return x != values.front(); });
}

// Sum of (a - mean a)(b - mean b).
double products(const std::vector<double>& a, const std::vector<double>& b) {
  const double a_mean = mean_of(a), b_mean = mean_of(b);
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - a_mean) * (b[i] - b_mean);
  return sum;
}

}  // namespace

double without_rounding(double value) {
  return parse_real(fmt::format("{:.12g}", value)).value_or(value);
}

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

PairedTest paired_t(const std::vector<double>& first, const std::vector<double>& second,
                    double scale) {
  if (first.size() != second.size())
    throw ConfigError(fmt::format(
        "a paired test needs as many values on both sides, not {} and {}; keep the common seeds",
        first.size(), second.size()));
  std::vector<double> differences;
  double largest = scale;
  for (std::size_t i = 0; i < first.size(); ++i) {
    differences.push_back(first[i] - second[i]);
    largest = std::max({largest, std::abs(first[i]), std::abs(second[i])});
  }
  drop_rounding(differences, largest);
  const Summary s = summarize(differences);
  PairedTest test;
  test.n = s.n;
  test.mean_difference = s.mean;
  test.half = s.half;
  test.sd = s.sd;
  if (!s.half || *s.sd == 0) return test;
  const auto n = static_cast<double>(s.n);
  test.t = s.mean / (*s.sd / std::sqrt(n));
  const boost::math::students_t distribution(n - 1);
  test.p = 2 * boost::math::cdf(boost::math::complement(distribution, std::abs(*test.t)));
  return test;
}

double detectable_noncentrality(double freedom, double level, double power) {
  const double critical = student_t(1 - level / 2, freedom);
  const auto power_at = [&](double noncentrality) {
    const boost::math::non_central_t distribution(freedom, noncentrality);
    return boost::math::cdf(boost::math::complement(distribution, critical)) +
           boost::math::cdf(distribution, -critical);
  };
  double low = 0, high = critical + 1;
  while (power_at(high) < power) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (power_at(middle) < power ? low : high) = middle;
  }
  return high;
}

std::optional<double> detectable_difference(double sd, std::size_t n, double level, double power) {
  if (n < kLeastForInterval || !(sd > 0)) return std::nullopt;
  const auto pairs = static_cast<double>(n);
  return detectable_noncentrality(pairs - 1, level, power) * sd / std::sqrt(pairs);
}

std::optional<double> line_share(const std::vector<double>& x, const std::vector<double>& y) {
  expect_same(x.size(), y.size());
  if (x.size() < 3 || !varies(x) || !varies(y)) return std::nullopt;
  const double xy = products(x, y);
  return xy * xy / (products(x, x) * products(y, y));
}

std::optional<double> group_share(const std::vector<std::string>& group,
                                  const std::vector<double>& y) {
  expect_same(group.size(), y.size());
  std::map<std::string, std::vector<double>> of_group;
  for (std::size_t i = 0; i < y.size(); ++i) of_group[group[i]].push_back(y[i]);
  if (of_group.size() < 2 || of_group.size() == y.size() || !varies(y)) return std::nullopt;
  const double mean = mean_of(y);
  double between = 0;
  for (const auto& [name, values] : of_group) {
    const double apart = mean_of(values) - mean;
    between += static_cast<double>(values.size()) * apart * apart;
  }
  return between / products(y, y);
}

namespace {

std::vector<std::size_t> by_rising(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&values](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  return order;
}

}  // namespace

std::vector<bool> holm_rejects(const std::vector<double>& p, double level) {
  const std::vector<std::size_t> order = by_rising(p);
  std::vector<bool> rejects(p.size(), false);
  for (std::size_t k = 0; k < order.size(); ++k) {
    if (p[order[k]] > level / static_cast<double>(p.size() - k)) break;
    rejects[order[k]] = true;
  }
  return rejects;
}

std::vector<double> holm_adjusted(const std::vector<double>& p) {
  const std::vector<std::size_t> order = by_rising(p);
  std::vector<double> adjusted(p.size());
  double most = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    most = std::max(most, p[order[k]] * static_cast<double>(p.size() - k));
    adjusted[order[k]] = std::min(1.0, most);
  }
  return adjusted;
}

}  // namespace tandem
