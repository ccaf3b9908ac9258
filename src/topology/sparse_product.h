// This computes y = x W + b over stored connections as an autograd function, whose backward pass
// walks them once for both gradients.
//
// Shapes: R replicas (runs of the group), N rows, in and out the layer's inputs and outputs, nnz
// stored values.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

class SparseConnections;

// The product is one with those of the stored values [nnz] whose flag (uint8 [nnz], undefined for
// all) is set, and zeros elsewhere. The gradient reaches all stored values unless it is cut to
// these.
struct UsedValues {
  at::Tensor values;
  at::Tensor flags = {};
  bool cuts_gradient = false;
};

// x is [R,N,in], and bias [R,out] or undefined; the result [R,N,out] is feature-major
// (feature_major.h).
at::Tensor sparse_product(const SparseConnections& connections, const UsedValues& used,
                          const at::Tensor& x, const at::Tensor& bias, bool relu);

}  // namespace tandem
