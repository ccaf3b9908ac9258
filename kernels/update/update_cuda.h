// The GPU versions of update.h and finish_step.h. All pointers, the replicas' records included, are
// device memory; `stream` is a cudaStream_t. Nothing is allocated and nothing waits, so that every
// call can be captured. They return 0 or the CUDA error's code.
#pragma once

#include <cstdint>

#include "kernels/update/finish_step.h"
#include "kernels/update/update.h"

namespace tandem::kernels {

template <class T>
int sgd_update_cuda(T* weight, const T* gradient, T* momentum, UpdateMasks masks, std::int64_t n,
                    const ReplicaUpdate* replicas, std::int64_t replica_count, SgdRule rule,
                    PathTerm<T> path, void* stream);

template <class T>
int adam_update_cuda(T* weight, const T* gradient, T* first, T* second, T* count, UpdateMasks masks,
                     std::int64_t n, const ReplicaUpdate* replicas, std::int64_t replica_count,
                     AdamRule rule, PathTerm<T> path, void* stream);

// squares[r] += sum of squares of S * gradient of segment r, in double and in a fixed order; the
// set counts where numbers[r].mask_gradient is set (and gradient_set is not null). Replicas of
// which no step is planned may be skipped. `scratch`: kSquaresParts doubles per replica.
constexpr std::int64_t kSquaresParts = 64;
template <class T>
int sum_squares_cuda(const T* gradient, const std::uint8_t* gradient_set, std::int64_t n,
                     const StepNumbers* numbers, std::int64_t replica_count, double* scratch,
                     double* squares, void* stream);

int finish_step_cuda(const StepOutcome& outcome, ReplicaState* state, ReplicaUpdate* updates,
                     void* stream);

}  // namespace tandem::kernels
