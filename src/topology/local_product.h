// This gives y = x W + b twice, from one product: y's gradient reaches x, W and b, and that of
// y_local reaches W and b alone, as if x had been a constant. Alignment that is local to a layer
// reads the second.
//
// Shapes: R replicas (runs of the group), N rows, in and out the layer's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

struct LocalProduct {
  at::Tensor y, y_local;  // [R,N,out], in one memory
};

// x is [R,N,in], w [R,in,out], and bias [R,out] or undefined.
LocalProduct local_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace tandem
