// y = x W + b over stored connections as an autograd function; backward walks them once for both
// gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

class SparseConnections;

// x [R,N,in]; bias [R,out] or undefined; the result [R,N,out] is feature-major (feature_major.h).
at::Tensor sparse_product(const SparseConnections& connections, const at::Tensor& values,
                          const at::Tensor& x, const at::Tensor& bias, bool relu);

}  // namespace tandem
