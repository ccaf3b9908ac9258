// Products along the replica axis whose bits do not depend on how many replicas there are.
//
// Shapes: R replicas (runs of the group), N rows, in and out the inputs and outputs of a product.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// Returns y = x W + b, [R,N,out], of x [R,N,in], W [R,in,out] and b [R,out] or undefined. On a CPU
// a single row, or a single output, is computed as two: MKL takes a lone product of a vector by
// other code, with other rounding, than several of them, so that a run alone would differ from the
// same run in company.
at::Tensor batched_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias = {});

}  // namespace tandem
