// Tests of differences: values of a reference implementation, and for rank tests every sign and
// every way to part the values, counted one by one.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "analysis/hypothesis_tests.h"
#include "core/error.h"

namespace tandem::test::analysis_hypotheses_unit {
namespace {

using Catch::Contains;
using Values = std::vector<double>;

const Values kFirst = {91.2, 90.8, 91.5, 91.0, 91.3}, kSecond = {90.1, 90.9, 90.4, 90.2, 90.7};

TestResult run(const std::string& name, const Values& first, const Values& second) {
  const auto result = hypothesis_test(name).run(first, second);
  REQUIRE(result);
  return *result;
}

// Twice the lesser share of the outcomes that are as far out as `own`.
double counted(const Values& outcomes, double own) {
  double below = 0, above = 0;
  for (const double each : outcomes) {
    below += each <= own + 1e-9;
    above += each >= own - 1e-9;
  }
  return std::min(1.0, 2 * std::min(below, above) / static_cast<double>(outcomes.size()));
}

// Ranks by their definition: one more than how many are less, and half of the others that are
// equal.
Values counted_ranks(const Values& values) {
  Values ranks;
  for (const double own : values) {
    double rank = 0.5;
    for (const double other : values) rank += other < own ? 1 : other == own ? 0.5 : 0;
    ranks.push_back(rank);
  }
  return ranks;
}

double counted_wilcoxon(const Values& differences) {
  Values sizes;
  for (const double d : differences) sizes.push_back(std::abs(d));
  const Values ranks = counted_ranks(sizes);
  Values used;
  double own = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (differences[i] == 0) continue;
    used.push_back(ranks[i]);
    own += differences[i] > 0 ? ranks[i] : 0;
  }
  Values outcomes;
  for (std::size_t signs = 0; signs < (std::size_t{1} << used.size()); ++signs) {
    double sum = 0;
    for (std::size_t i = 0; i < used.size(); ++i) sum += signs >> i & 1 ? used[i] : 0;
    outcomes.push_back(sum);
  }
  return counted(outcomes, own);
}

double counted_mann_whitney(const Values& first, const Values& second) {
  Values all = first;
  all.insert(all.end(), second.begin(), second.end());
  const Values ranks = counted_ranks(all);
  Values outcomes;
  for (std::size_t chosen = 0; chosen < (std::size_t{1} << all.size()); ++chosen) {
    std::size_t count = 0;
    double sum = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if ((chosen >> i & 1) == 0) continue;
      ++count;
      sum += ranks[i];
    }
    if (count == first.size()) outcomes.push_back(sum);
  }
  return counted(outcomes,
                 std::accumulate(ranks.begin(),
                                 ranks.begin() + static_cast<std::ptrdiff_t>(first.size()), 0.0));
}

}  // namespace

TEST_CASE("tests of two sides are those of a reference implementation", "[unit]") {
  const TestResult paired = run("paired_t", kFirst, kSecond), welch = run("welch", kFirst, kSecond),
                   signs = run("wilcoxon", kFirst, kSecond),
                   sums = run("mann_whitney", kFirst, kSecond);
  CHECK(paired.statistic == Approx(3.16227766016834).epsilon(1e-10));
  CHECK(paired.p == Approx(0.03410942316741092).epsilon(1e-9));
  CHECK(welch.statistic == Approx(3.629330931556479).epsilon(1e-10));
  CHECK(welch.p == Approx(0.007225664453680992).epsilon(1e-9));
  CHECK(signs.statistic == 1);
  CHECK(signs.p == Approx(0.125).epsilon(1e-12));
  CHECK(sums.statistic == 24);
  CHECK(sums.p == Approx(0.015873015873015872).epsilon(1e-12));
  const Values x = {5.1, 4.8, 6.2, 5.9, 5.0, 6.6, 5.3, 4.1}, y = {4.9, 5.15, 5.2, 5.12, 4.4, 5.25};
  CHECK(run("mann_whitney", x, y).p == Approx(0.5727605727605728).epsilon(1e-12));
  CHECK(run("mann_whitney", x, y).statistic == 29);
}

TEST_CASE("rank tests with ties and zeros count every outcome", "[unit]") {
  const std::vector<Values> differences = {{1, 2, 2, -1, 3, 0, 4, 2, -3, 5},
                                           {1, 1, 1, 1, 1, 1},
                                           {0, 0, 0, 3, -1},
                                           {-2, -2, 5, 7, 1, -9, 4, 4}};
  for (const Values& d : differences) {
    const Values zeros(d.size(), 0.0);
    CAPTURE(d);
    CHECK(run("wilcoxon", d, zeros).p == Approx(counted_wilcoxon(d)).epsilon(1e-12));
    CHECK(run("wilcoxon", zeros, d).p == Approx(counted_wilcoxon(d)).epsilon(1e-12));
  }
  CHECK(counted_wilcoxon(differences[0]) == Approx(0.10546875));
  const std::vector<std::pair<Values, Values>> sides = {{{1, 2, 2, 5, 7}, {2, 3, 3, 3, 4, 1}},
                                                        {{1, 1, 1}, {1, 1, 2, 3}},
                                                        {{4, 5, 6, 7}, {1, 2, 3, 3}}};
  for (const auto& [first, second] : sides) {
    CAPTURE(first, second);
    CHECK(run("mann_whitney", first, second).p ==
          Approx(counted_mann_whitney(first, second)).epsilon(1e-12));
  }
  // Differences of equal decimals tie, whatever their last bits are.
  const Values high = {0.892, 0.894, 0.896, 0.7, 0.31}, low = {0.872, 0.874, 0.876, 0.72, 0.29};
  CHECK(run("wilcoxon", high, low).p == Approx(counted_wilcoxon({1, 1, 1, -1, 1})).epsilon(1e-12));
}

// Up to a hundred values are counted, and above that the reference implementation's normal p.
TEST_CASE("many ranks are counted, and very many taken as normal", "[unit]") {
  Values first, second;
  for (int i = 0; i < 101; ++i) {
    first.push_back(std::fmod(i * 0.61803398875, 1.0) + 0.08);
    second.push_back(std::fmod(i * 0.41421356237, 1.0));
  }
  const Values half_first(first.begin(), first.begin() + 50),
      half_second(second.begin(), second.begin() + 50), more(first.begin(), first.begin() + 51);
  CHECK(run("wilcoxon", first, second).p == Approx(0.05804171451635645).epsilon(1e-10));
  CHECK(run("mann_whitney", more, half_second).p == Approx(0.17647806886570905).epsilon(1e-10));
  CHECK(run("wilcoxon", half_first, half_second).p == Approx(0.18444897927691706).epsilon(1e-10));
  CHECK(run("mann_whitney", half_first, half_second).p ==
        Approx(0.2300882389863889).epsilon(1e-10));
}

TEST_CASE("a test that can't be significant with so few values has no p", "[unit]") {
  const HypothesisTest& wilcoxon = hypothesis_test("wilcoxon");
  const Values five = {1, 2, 3, 4, 5}, six = {1, 2, 3, 4, 5, 6}, zeros5(5, 0.0), zeros6(6, 0.0);
  const PairedTest few = compare(wilcoxon, five, zeros5), enough = compare(wilcoxon, six, zeros6);
  CHECK(few.out_of_reach);  // all of one sign: 2 / 32
  CHECK_FALSE(few.p);
  CHECK_FALSE(enough.out_of_reach);
  CHECK(*enough.p == Approx(2.0 / 64));
  CHECK(compare(hypothesis_test("mann_whitney"), {1, 2, 3}, {4, 5, 6}).out_of_reach);  // 2 / 20
  CHECK_FALSE(compare(hypothesis_test("mann_whitney"), {1, 2, 3, 9}, {4, 5, 6, 8}).out_of_reach);
  CHECK_FALSE(hypothesis_test("welch").run({1, 2}, {3, 4}));
  CHECK_FALSE(hypothesis_test("wilcoxon").run({1, 2, 3}, {1, 2, 3}));
  CHECK_FALSE(hypothesis_test("mann_whitney").run({1, 1, 1}, {1, 1, 1}));
}

TEST_CASE("a comparison has the interval of its test", "[unit]") {
  const PairedTest paired = compare(hypothesis_test("paired_t"), kFirst, kSecond),
                   welch = compare(hypothesis_test("welch"), kFirst, kSecond);
  CHECK(*paired.half == Approx(2.7764451051978 * 0.7 / 3.16227766016834).epsilon(1e-10));
  CHECK(*welch.half == Approx(0.44837195309504924).epsilon(1e-10));
  CHECK(welch.mean_difference == Approx(0.7));
  CHECK_THROWS_WITH(hypothesis_test("wilcoxn"), Contains("wilcoxon"));
}

// Of two sides of unit deviation with n values each, by the noncentral t distribution.
TEST_CASE("what Welch's test detects", "[unit]") {
  for (const auto& [n, expected] : {std::pair<int, double>{3, 3.0708928437731537},
                                    {5, 2.0244409773588212},
                                    {10, 1.324948895466981},
                                    {20, 0.9091301276269906}}) {
    Values side;
    for (int i = 0; i < n; ++i) side.push_back(i);
    const Summary s = summarize(side);
    for (double& each : side) each = (each - s.mean) / *s.sd;
    CAPTURE(n);
    CHECK(hypothesis_test("welch").detectable(side, side, 0.05, 0.8).value() ==
          Approx(expected).epsilon(1e-4));
  }
}

TEST_CASE("sizes of an effect", "[unit]") {
  CHECK(effect_size("dz").of(kFirst, kSecond).value() == Approx(1.1313708498984618));
  CHECK(effect_size("g").of(kFirst, kSecond).value() == Approx(2.0732558679621684));
  CHECK(effect_size("superiority").of(kFirst, kSecond).value() == Approx(0.96));
  CHECK_FALSE(effect_size("dz").of({1, 2, 3}, {1, 2, 3}));
  CHECK_THROWS_WITH(effect_size("d"), Contains("effect size"));
}

}  // namespace tandem::test::analysis_hypotheses_unit
