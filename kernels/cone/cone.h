// The projection of a gradient g onto the cone of those that raise none of n given losses, whose
// gradients are G (n rows), by its dual (Lopez-Paz and Ranzato 2017, arXiv 1706.08840, eq. 11):
//   min_v  1/2 v^T (G G^T + ridge I) v + (G g)^T v   subject to v >= margin,   g <- g + G^T v,
// by cyclic coordinate descent from v = margin, in so many sweeps over the coordinates.
#pragma once

#include <cstdint>

namespace tandem::kernels {

// Of R replicas; double, replicas side by side. Row i of replica r takes no part, and its v is 0,
// where part is 0 there; so is a replica of which no row that takes part has along < 0.
struct ConeProblem {
  const double* gram = nullptr;    // [R,n,n] G G^T
  const double* along = nullptr;   // [R,n] G g
  const double* part = nullptr;    // [R,n] 0 or 1
  const double* margin = nullptr;  // [R]
  std::int64_t replicas = 0, n = 0;
  double ridge = 1e-3;
  std::int64_t sweeps = 1000;
};

// Writes v [R,n].
void project_onto_cone(const ConeProblem& problem, double* v);

}  // namespace tandem::kernels
