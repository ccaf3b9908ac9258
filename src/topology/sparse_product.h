// y = x W + b over stored connections as an autograd function; backward walks them once for both
// gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

class SparseConnections;

// What is multiplied with: those of the stored values [nnz] whose flag (uint8 [nnz], undefined for
// all) is set, zeros elsewhere. The gradient reaches all stored values unless it is cut to these.
struct UsedValues {
  at::Tensor values;
  at::Tensor flags = {};
  bool cuts_gradient = false;
};

// x [R,N,in]; bias [R,out] or undefined; the result [R,N,out] is feature-major (feature_major.h).
at::Tensor sparse_product(const SparseConnections& connections, const UsedValues& used,
                          const at::Tensor& x, const at::Tensor& bias, bool relu);

}  // namespace tandem
