// The CPU version of settle.h.
#include "kernels/update/settle_replica.h"

namespace tandem::kernels {

void settle(const StepOutcome& outcome, ReplicaState* state, ReplicaUpdate* updates) {
  for (std::int64_t r = 0; r < outcome.replicas; ++r) settle_replica(outcome, r, state, updates);
}

}  // namespace tandem::kernels
