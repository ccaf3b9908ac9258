#include "analysis/hypothesis_tests.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "analysis/statistics.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

double two_sided_t(double t, double freedom) {
  const boost::math::students_t distribution(freedom);
  return 2 * boost::math::cdf(boost::math::complement(distribution, std::abs(t)));
}

double two_sided_normal(double z) { return std::min(1.0, std::erfc(std::abs(z) / std::sqrt(2.0))); }

std::optional<TestResult> run_paired_t(const Values& first, const Values& second) {
  const PairedTest test = paired_t(first, second);
  if (!test.p) return std::nullopt;
  return TestResult{*test.t, *test.p, 0};
}

std::optional<double> detect_paired(const Values& first, const Values& second, double level,
                                    double power) {
  const PairedTest test = paired_t(first, second);
  if (!test.sd) return std::nullopt;
  return detectable_difference(*test.sd, test.n, level, power);
}

// Of each side: its variance over its number.
struct WelchParts {
  double first, second, freedom;
};

std::optional<WelchParts> welch_parts(const Values& first, const Values& second) {
  const Summary a = summarize(first), b = summarize(second);
  if (a.n < 3 || b.n < 3) return std::nullopt;
  const auto m = static_cast<double>(a.n), n = static_cast<double>(b.n);
  const double u = *a.sd * *a.sd / m, v = *b.sd * *b.sd / n;
  if (!(u + v > 0)) return std::nullopt;
  return WelchParts{u, v, (u + v) * (u + v) / (u * u / (m - 1) + v * v / (n - 1))};
}

std::optional<TestResult> run_welch(const Values& first, const Values& second) {
  const auto parts = welch_parts(first, second);
  if (!parts) return std::nullopt;
  const double t =
      (summarize(first).mean - summarize(second).mean) / std::sqrt(parts->first + parts->second);
  return TestResult{t, two_sided_t(t, parts->freedom), 0};
}

std::optional<double> detect_welch(const Values& first, const Values& second, double level,
                                   double power) {
  const auto parts = welch_parts(first, second);
  if (!parts) return std::nullopt;
  return detectable_noncentrality(parts->freedom, level, power) *
         std::sqrt(parts->first + parts->second);
}

// Mean ranks doubled are whole numbers.
std::vector<std::size_t> doubled(const Values& ranks) {
  std::vector<std::size_t> all;
  for (const double rank : ranks) all.push_back(static_cast<std::size_t>(std::llround(2 * rank)));
  return all;
}

// Of a distribution of whole numbers with these chances: twice the lesser tail at `at`, and the
// least that this can be.
TestResult tails(const Values& chances, std::size_t at, double statistic) {
  const auto begin = chances.begin(), end = chances.end();
  const auto place = begin + static_cast<std::ptrdiff_t>(at);
  const double below = std::accumulate(begin, place + 1, 0.0),
               above = std::accumulate(place, end, 0.0);
  const auto possible = [](double chance) { return chance > 0; };
  const auto lowest = std::find_if(begin, end, possible);
  const auto highest = std::find_if(chances.rbegin(), chances.rend(), possible);
  const double least = std::min(*lowest, *highest);
  return {statistic, std::min(1.0, 2 * std::min(below, above)), std::min(1.0, 2 * least)};
}

// Differences that are no more than rounding are zeros.
Values differences_of(const Values& first, const Values& second) {
  constexpr double kRounding = 1e-14;
  Values differences;
  double largest = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    differences.push_back(first[i] - second[i]);
    largest = std::max({largest, std::abs(first[i]), std::abs(second[i])});
  }
  for (double& d : differences) d = std::abs(d) <= kRounding * largest ? 0 : d;
  return differences;
}

std::optional<TestResult> run_wilcoxon(const Values& first, const Values& second) {
  const Values differences = differences_of(first, second);
  Values sizes;
  for (const double d : differences) sizes.push_back(without_rounding(std::abs(d)));
  const Values ranks = mid_ranks(sizes);
  Values signed_ranks;  // of those that are not zero
  double positive = 0, all = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (differences[i] == 0) continue;
    signed_ranks.push_back(ranks[i]);
    all += ranks[i];
    if (differences[i] > 0) positive += ranks[i];
  }
  if (signed_ranks.size() < 2) return std::nullopt;
  const double lesser = std::min(positive, all - positive);
  if (signed_ranks.size() > kMostExact) {
    double squares = 0;
    for (const double rank : signed_ranks) squares += rank * rank;
    return TestResult{lesser, two_sided_normal((positive - all / 2) / std::sqrt(squares / 4)), 0};
  }
  // How the sum of the positive ranks is spread where each sign is as likely as the other.
  const std::vector<std::size_t> steps = doubled(signed_ranks);
  Values chances(std::accumulate(steps.begin(), steps.end(), std::size_t{1}), 0.0);
  chances[0] = 1;
  for (const std::size_t step : steps) {
    for (std::size_t s = chances.size(); s-- > 0;) {
      chances[s] = (chances[s] + (s >= step ? chances[s - step] : 0)) / 2;
    }
  }
  return tails(chances, static_cast<std::size_t>(std::llround(2 * positive)), lesser);
}

std::optional<TestResult> run_mann_whitney(const Values& first, const Values& second) {
  const std::size_t m = first.size(), n = second.size();
  if (m < 2 || n < 2) return std::nullopt;
  Values all = first;
  all.insert(all.end(), second.begin(), second.end());
  const Values ranks = mid_ranks(all);
  if (std::all_of(ranks.begin(), ranks.end(), [&](double r) { return r == ranks[0]; }))
    return std::nullopt;
  const double sum =
      std::accumulate(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(m), 0.0);
  const auto dm = static_cast<double>(m), dn = static_cast<double>(n);
  const double u = sum - dm * (dm + 1) / 2;
  if (m + n > kMostExact) {
    const double mean = (dm + dn + 1) / 2;
    double squares = 0;
    for (const double rank : ranks) squares += (rank - mean) * (rank - mean);
    const double variance = dm * dn / ((dm + dn) * (dm + dn - 1)) * squares;
    return TestResult{u, two_sided_normal((u - dm * dn / 2) / std::sqrt(variance)), 0};
  }
  // chance[k][s]: that k ranks drawn without replacement from those so far have the sum s, as a
  // share of all draws of k; built rank by rank, a rank being among the k with chance k / seen.
  const std::vector<std::size_t> steps = doubled(ranks);
  const std::size_t most = std::accumulate(steps.begin(), steps.end(), std::size_t{0});
  std::vector<Values> chances(m + 1, Values(most + 1, 0.0));
  chances[0][0] = 1;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double seen = static_cast<double>(i + 1);
    for (std::size_t k = std::min(m, i + 1); k > 0; --k) {
      const double with = static_cast<double>(k) / seen;
      for (std::size_t s = most + 1; s-- > 0;) {
        chances[k][s] =
            (1 - with) * chances[k][s] + (s >= steps[i] ? with * chances[k - 1][s - steps[i]] : 0);
      }
    }
  }
  return tails(chances[m], static_cast<std::size_t>(std::llround(2 * sum)), u);
}

std::optional<double> effect_dz(const Values& first, const Values& second) {
  const PairedTest test = paired_t(first, second);
  if (test.n < 3 || !(*test.sd > 0)) return std::nullopt;
  const double correction = 1 - 3 / (4 * (static_cast<double>(test.n) - 1) - 1);
  return correction * test.mean_difference / *test.sd;
}

std::optional<double> effect_g(const Values& first, const Values& second) {
  const Summary a = summarize(first), b = summarize(second);
  if (a.n < 2 || b.n < 2) return std::nullopt;
  const auto m = static_cast<double>(a.n), n = static_cast<double>(b.n);
  const double pooled =
      std::sqrt(((m - 1) * *a.sd * *a.sd + (n - 1) * *b.sd * *b.sd) / (m + n - 2));
  if (!(pooled > 0)) return std::nullopt;
  return (1 - 3 / (4 * (m + n) - 9)) * (a.mean - b.mean) / pooled;
}

std::optional<double> effect_superiority(const Values& first, const Values& second) {
  if (first.empty() || second.empty()) return std::nullopt;
  double wins = 0;
  for (const double x : first)
    for (const double y : second) wins += x > y ? 1 : x == y ? 0.5 : 0;
  return wins / static_cast<double>(first.size() * second.size());
}

}  // namespace

const std::vector<HypothesisTest>& hypothesis_tests() {
  static const std::vector<HypothesisTest> tests = {
      {"paired_t", "the paired t test", true, run_paired_t, detect_paired},
      {"welch", "Welch's t test", false, run_welch, detect_welch},
      {"wilcoxon", "the exact Wilcoxon signed-rank test", true, run_wilcoxon},
      {"mann_whitney", "the exact Mann-Whitney test", false, run_mann_whitney}};
  return tests;
}

std::vector<std::string> hypothesis_test_names() {
  std::vector<std::string> names;
  for (const HypothesisTest& test : hypothesis_tests()) names.push_back(test.name);
  return names;
}

const HypothesisTest& hypothesis_test(const std::string& name) {
  for (const HypothesisTest& test : hypothesis_tests())
    if (test.name == name) return test;
  throw ConfigError(did_you_mean("test", name, hypothesis_test_names()));
}

PairedTest compare(const HypothesisTest& test, const std::vector<double>& first,
                   const std::vector<double>& second, double scale) {
  PairedTest made = paired_t(first, second, scale);
  if (test.run == run_paired_t) return made;
  made.t.reset();
  made.p.reset();
  if (!test.paired && made.half) {
    const auto parts = welch_parts(first, second);
    made.half = parts ? std::optional(student_t(0.975, parts->freedom) *
                                      std::sqrt(parts->first + parts->second))
                      : std::nullopt;
  }
  const auto result = test.run(first, second);
  if (!result) return made;
  made.out_of_reach = result->least_p > kSignificance;
  if (!made.out_of_reach) made.p = result->p;
  return made;
}

std::string interval_text(const HypothesisTest& test) {
  return test.paired ? "Student's 95% interval of the paired difference"
                     : "Welch's 95% interval of the difference of means";
}

const std::vector<EffectSize>& effect_sizes() {
  static const std::vector<EffectSize> sizes = {
      {"dz", "the mean of the paired differences over their deviation, with Hedges's correction",
       effect_dz},
      {"g", "Hedges's g, the difference over the pooled deviation of the two sides", effect_g},
      {"superiority", "the chance that a run of the first side is above one of the other",
       effect_superiority}};
  return sizes;
}

const EffectSize& effect_size(const std::string& name) {
  std::vector<std::string> names;
  for (const EffectSize& size : effect_sizes()) {
    if (size.name == name) return size;
    names.push_back(size.name);
  }
  throw ConfigError(did_you_mean("effect size", name, names));
}

std::vector<double> mid_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t i = 0; i < order.size();) {
    std::size_t end = i + 1;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    const double rank = 1 + (static_cast<double>(i) + static_cast<double>(end) - 1) / 2;
    for (; i < end; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

}  // namespace tandem
