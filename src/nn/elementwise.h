// These elementwise functions give a replica the same bits alone and in company (beside other
// replicas of a group).
//
// ATen runs the last numel mod 2 W elements of a flat tensor (W lanes of a vector register, 16 at
// most) by scalar code, and its exp differs there in the last bit: measured for sigmoid and silu in
// float. So each replica's share is padded to a multiple of 2 W where it is not one already. Sums,
// products, comparisons, sqrt and softmax over the last axis need none of this.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

at::Tensor exp_reproducible(const at::Tensor& x);
at::Tensor sigmoid_reproducible(const at::Tensor& x);  // x [R,...]
at::Tensor silu_reproducible(const at::Tensor& x);
at::Tensor gelu_reproducible(const at::Tensor& x);

// The `count` largest of the last dimension as they are, 0 elsewhere; more where several are equal
// to the last of them. The gradient goes to these alone (k-winners, Ahmad and Scheinkman 2019,
// arXiv 1903.11257, without boosting).
at::Tensor winners(const at::Tensor& x, std::int64_t count);

// -y log g - (1 - y) log(1 - g) with g = sigmoid(z), elementwise and differentiable in z; wanted y
// in [0,1], beside z.
at::Tensor binary_cross_entropy_reproducible(const at::Tensor& z, const at::Tensor& wanted);

}  // namespace tandem
