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

// relu(a - g I) with a = relu(z), I the (count + 1)-th largest of a along the last dimension (0
// where there is none), through which no gradient goes, and g [R,1,U] each unit's strength of
// inhibition; undefined: 1, so that `count` units stay active, or fewer (Bricken et al. 2023, arXiv
// 2303.11934). z [R,B,U].
at::Tensor inhibited(const at::Tensor& z, std::int64_t count, const at::Tensor& g);

// -y log g - (1 - y) log(1 - g) with g = sigmoid(z), elementwise and differentiable in z; wanted y
// in [0,1], beside z.
at::Tensor binary_cross_entropy_reproducible(const at::Tensor& z, const at::Tensor& wanted);

}  // namespace tandem
