// Which of several methods are better over many data sets or settings (blocks), by their ranks:
// Friedman's test with the correction for ties and Iman and Davenport's F (1980), then Wilcoxon's
// signed-rank test of each pair over the blocks with Holm's correction, as Benavoli, Corani and
// Mangili (arXiv 1505.02288) advise in place of tests of mean ranks.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace tandem {

struct RankStudy {
  std::size_t blocks = 0;
  std::vector<double> mean_ranks;  // of each method; 1: always the best
  // Friedman's chi^2 = 12 N / (k (k + 1)) (sum of R_j^2 - k (k + 1)^2 / 4) over
  // 1 - sum of (t^3 - t) / (N k (k^2 - 1)), t values being equal in a block; and
  // F = (N - 1) chi^2 / (N (k - 1) - chi^2) with k - 1 and (k - 1)(N - 1) degrees of freedom.
  // Where every block has the same order, F is infinite and p the chance of that, 1 / (k!)^(N - 1)
  // (fewer orders with ties). Nothing with one block or one method, or where all values of every
  // block are equal.
  std::optional<double> chi_squared, f, p;
  // Of each pair, adjusted by Holm over all of them; 1 on the diagonal and where a test says
  // nothing.
  std::vector<std::vector<double>> pairwise;
  bool out_of_reach = false;  // with so few blocks no pair can be told apart after the correction
  // The longest runs of methods, by rising mean rank, of which no pair is told apart; of two or
  // more.
  std::vector<std::vector<std::size_t>> groups;
};

// scores[b][j]: of method j in block b.
RankStudy rank_study(const std::vector<std::vector<double>>& scores, bool higher_is_better);

}  // namespace tandem
