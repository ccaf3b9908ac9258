// The weight that a sparse product uses: forward M*W as a selection, backward the dense gradient
// dL/dW_eff unchanged, or M times it. Growth criteria read the dense one from the leaf.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// mask: uint8 of as many elements as w. full_runs: bool [R], where it is set the replica's W goes
// through whole; undefined: nowhere.
at::Tensor masked_weight(const at::Tensor& w, const at::Tensor& mask, const at::Tensor& full_runs,
                         bool mask_gradient);

}  // namespace tandem
