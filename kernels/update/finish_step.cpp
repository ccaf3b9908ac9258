// The CPU version of finish_step.h.
#include "kernels/update/finish_replica.h"

namespace tandem::kernels {

void finish_step(const StepOutcome& outcome, ReplicaState* state, ReplicaUpdate* updates) {
  for (std::int64_t r = 0; r < outcome.replicas; ++r) finish_replica(outcome, r, state, updates);
}

}  // namespace tandem::kernels
