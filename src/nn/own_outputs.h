// Outputs that count. Where a task has a head of its own, an example's other logits belong to other
// tasks: no term of the loss and no measurement of the net's end may read them.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// logits [...,C]; allowed bool of the same shape, true at the outputs that take part, or undefined:
// all. Other outputs become 0 and get no gradient.
at::Tensor own_outputs(const at::Tensor& logits, const at::Tensor& allowed);

// log softmax over the allowed outputs alone; 0 at the others, so that a sum of products of shares
// and their logarithms skips them.
at::Tensor log_shares(const at::Tensor& logits, const at::Tensor& allowed);

}  // namespace tandem
