// The GPU version of cone.h, with all pointers in device memory. Can be captured. Returns 0 or the
// CUDA error's code.
#pragma once

#include "kernels/cone/cone.h"

namespace tandem::kernels {

int project_onto_cone_cuda(const ConeProblem& problem, double* v, void* stream);

}  // namespace tandem::kernels
