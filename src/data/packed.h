// Packed documents: a sequence holds several documents one behind the other, and each token carries
// the place in the sequence where its document begins, so that whatever passes tokens on (buffers,
// probes, strategies) passes these on as well:
//   x = token + 2^16 start
// A sequence that is one document is its tokens as they are.
//
// Shapes: R replicas, B examples, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

constexpr int kTokenBits = 16;

at::Tensor packed(const at::Tensor& tokens, const at::Tensor& starts);  // int64 [R,B,T] of each
at::Tensor unpacked_tokens(const at::Tensor& x);                        // int64 [R,B,T]
at::Tensor document_starts(const at::Tensor& x);                        // int64 [R,B,T]

}  // namespace tandem
