#include "analysis/ranks.h"

#include <algorithm>
#include <boost/math/distributions/fisher_f.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "analysis/hypothesis_tests.h"
#include "analysis/statistics.h"

namespace tandem {
namespace {

// Sum of t^3 - t over the equal values of a block.
double ties_of(const std::vector<double>& ranks) {
  std::map<double, double> counts;
  for (const double rank : ranks) ++counts[rank];
  double sum = 0;
  for (const auto& [rank, t] : counts) sum += t * t * t - t;
  return sum;
}

// `orders`: in how many ways the values of one block, with its ties, can be given to the methods.
void test_ranks(RankStudy& study, double ties, double orders) {
  const auto n = static_cast<double>(study.blocks),
             k = static_cast<double>(study.mean_ranks.size());
  if (n < 2 || k < 2) return;
  const double correction = 1 - ties / (n * k * (k * k - 1));
  if (!(correction > 0)) return;
  double squares = 0;
  for (const double rank : study.mean_ranks) squares += rank * rank;
  const double chi = 12 * n / (k * (k + 1)) * (squares - k * (k + 1) * (k + 1) / 4) / correction;
  study.chi_squared = chi;
  const double rest = n * (k - 1) - chi;
  if (rest <= 1e-12 * n * k) {  // every block has the same order
    // F says nothing here; by chance all blocks have the first one's order with this probability.
    study.f = std::numeric_limits<double>::infinity();
    study.p = std::pow(orders, -(n - 1));
    return;
  }
  study.f = (n - 1) * chi / rest;
  const boost::math::fisher_f distribution(k - 1, (k - 1) * (n - 1));
  study.p = boost::math::cdf(boost::math::complement(distribution, std::max(0.0, *study.f)));
}

// k! over the product of t! of the equal values.
double orders_of(const std::vector<double>& ranks) {
  std::map<double, double> counts;
  double orders = 1;
  for (std::size_t i = 0; i < ranks.size(); ++i)
    orders *= static_cast<double>(i + 1) / ++counts[ranks[i]];
  return orders;
}

void test_pairs(RankStudy& study, const std::vector<std::vector<double>>& scores) {
  const std::size_t k = study.mean_ranks.size();
  const HypothesisTest& test = hypothesis_test("wilcoxon");
  std::vector<double> ps;
  const double pairs = static_cast<double>(k * (k - 1)) / 2;  // which Holm corrects for
  bool reach = false;
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = i + 1; j < k; ++j) {
      std::vector<double> first, second;
      for (const auto& block : scores) {
        first.push_back(block[i]);
        second.push_back(block[j]);
      }
      const auto result = test.run(first, second);
      ps.push_back(result ? result->p : 1);
      reach = reach || (result && result->least_p * pairs <= kSignificance);
    }
  }
  study.out_of_reach = !reach;
  const std::vector<double> adjusted = holm_adjusted(ps);
  study.pairwise.assign(k, std::vector<double>(k, 1));
  std::size_t at = 0;
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = i + 1; j < k; ++j)
      study.pairwise[i][j] = study.pairwise[j][i] = adjusted[at++];
}

void group(RankStudy& study) {
  const std::size_t k = study.mean_ranks.size();
  std::vector<std::size_t> order(k);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return study.mean_ranks[a] < study.mean_ranks[b];
  });
  std::size_t reached = 0;
  for (std::size_t begin = 0; begin < k; ++begin) {
    std::size_t end = begin + 1;
    const auto told_apart = [&](std::size_t i) {
      return study.pairwise[order[i]][order[end]] <= kSignificance;
    };
    while (end < k) {
      bool apart = false;
      for (std::size_t i = begin; i < end; ++i) apart = apart || told_apart(i);
      if (apart) break;
      ++end;
    }
    if (end - begin < 2 || end <= reached) continue;  // part of the one before
    reached = end;
    study.groups.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin),
                              order.begin() + static_cast<std::ptrdiff_t>(end));
  }
}

}  // namespace

RankStudy rank_study(const std::vector<std::vector<double>>& scores, bool higher_is_better) {
  RankStudy study;
  study.blocks = scores.size();
  if (scores.empty()) return study;
  study.mean_ranks.assign(scores.front().size(), 0);
  double ties = 0, orders = 1;
  for (const auto& block : scores) {
    std::vector<double> sorted = block;
    for (double& each : sorted) each = without_rounding(higher_is_better ? -each : each);
    const std::vector<double> ranks = mid_ranks(sorted);
    ties += ties_of(ranks);
    if (&block == &scores.front()) orders = orders_of(ranks);
    for (std::size_t j = 0; j < ranks.size(); ++j) study.mean_ranks[j] += ranks[j];
  }
  for (double& sum : study.mean_ranks) sum /= static_cast<double>(scores.size());
  test_ranks(study, ties, orders);
  test_pairs(study, scores);
  group(study);
  return study;
}

}  // namespace tandem
