// The CPU version of cone.h.
#include "kernels/cone/cone_replica.h"

namespace tandem::kernels {

void project_onto_cone(const ConeProblem& problem, double* v) {
  for (std::int64_t r = 0; r < problem.replicas; ++r) project_replica(problem, r, v);
}

}  // namespace tandem::kernels
