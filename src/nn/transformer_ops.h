// These are operations of a transformer that plain composition would spread over many small
// kernels; each is one node of the autograd graph.
//
// Shapes: R replicas, B examples, T tokens, H heads, D numbers of a head, N rows (examples times
// tokens), W the width of the residual stream, V symbols.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "nn/rope.h"

namespace tandem {

// Computes y = x / sqrt(mean x^2 + eps) * gain per replica (Zhang & Sennrich 2019), with x [R,N,W]
// and gain [R,W].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon = 1e-5);

// Positions are rotary (Su et al. 2021) in the halves convention: component i pairs with i + D/2,
// and the pair of position t turns by t theta^(-2i/D), scaled as nn/rope.h says.
struct RotaryTables {
  at::Tensor cosine, sine;  // [T,1,D/2], or [R,B,T,1,D/2] of tokens at places of their own
  RotaryTables() = default;
  RotaryTables(std::int64_t tokens, std::int64_t head_dim, double theta, const at::Tensor& like,
               const RopeFactors& factors = {});
  // Of tokens at these places, int64 [R,B,T], each below T.
  RotaryTables at(const at::Tensor& places) const;
};
at::Tensor rotate(const at::Tensor& x, const RotaryTables& tables);  // [R,B,T,H,D]

// Looks tokens up in each replica's own table: table [R,V,W] and tokens int64 [R,N] give [R,N,W].
// On a GPU the gradient is a product with the one-hot tokens, because adding rows with atomics does
// not give the same sum each time.
at::Tensor embed(const at::Tensor& table, const at::Tensor& tokens);

}  // namespace tandem
