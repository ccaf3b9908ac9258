// The Bayesian signed-rank test (Benavoli, Corani, Mangili and Zaffalon, ICML 2014; with a region
// of practical equivalence as in Benavoli, Corani, Demsar and Zaffalon, JMLR 18:77, 2017): how
// probable it is that a difference is below, within or above the region from -rope to rope.
//
// The prior is a Dirichlet process with strength 1/2 at a difference of 0. A draw of the posterior
// has weights w ~ Dirichlet(1/2, 1, ..., 1) over z_0 = 0 and the n differences; a region has the
// sum of w_i w_j over the pairs whose mean (z_i + z_j) / 2 lies in it, and the draw counts for the
// region that has most. Probabilities are shares of 50,000 draws from one named stream.
#pragma once

#include <cstddef>
#include <vector>

namespace tandem {

struct RegionChances {
  double below = 0, within = 0, above = 0;
};
RegionChances signed_rank_chances(const std::vector<double>& differences, double rope);

constexpr std::size_t kPosteriorDraws = 50000;

}  // namespace tandem
