// The GPU version of pull.h, with all pointers in device memory. Can be captured. `scratch` has
// kPullParts doubles for each replica. Returns 0 or the CUDA error's code.
#pragma once

#include "kernels/pull/pull.h"

namespace tandem::kernels {

constexpr std::int64_t kPullParts = 64;

template <class T>
int add_pull_cuda(const PullTerm<T>& term, T* out, double* sums, double* scratch, void* stream);

}  // namespace tandem::kernels
