// The CPU version of settle.h.
#include "kernels/update/settle_replica.h"

namespace tandem::kernels {

void settle(const StepNumbers* numbers, const ReplicaConstants* constants, const double* loss,
            const double* alignment, const double* squares, ReplicaState* state,
            ReplicaUpdate* updates, std::int64_t replicas) {
  for (std::int64_t r = 0; r < replicas; ++r) {
    settle_replica(numbers[r], constants[r], loss[r], alignment[r],
                   squares != nullptr ? squares[r] : 0, state[r], updates[r]);
  }
}

}  // namespace tandem::kernels
