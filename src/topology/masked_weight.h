// This is the weight that a sparse product uses: forward M*W as a selection, backward the dense
// gradient dL/dW_eff unchanged, or M times it. Growth criteria read the dense gradient from the
// leaf.
//
// Shapes: R replicas (runs of the group).
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// `mask` is uint8 and has as many elements as w. Where full_runs, bool [R], is set the replica's W
// goes through whole; where it is undefined no replica's does.
at::Tensor masked_weight(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full_runs,
                         bool mask_gradient);

}  // namespace tandem
