// This is two-stream causal attention with grouped query heads, by whole score matrices or by
// blocked kernels (nn/attention/blocked.h).
//
//   full    softmax over keys j <= t of q_t.k_j / sqrt(d)
//   sparse  the same over the keys of S blocks, chosen per query by the selector, its own among
//           them
// Both streams come from the same q, k, v and the same scores; they meet at the heads' outputs, and
// `epilogue` is the head gate. The choice of blocks carries no gradient. Rules of the choice by
// pooled keys, and a double-precision reference of everything here: kernels/attention/attention.h.
// A budget S that covers every block makes the sparse stream equal the full one, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "nn/attention/setting.h"
#include "nn/context.h"

namespace tandem {

// What a layer's attention has beside its streams; coefficients, [R], of terms that join the loss
// where a gradient is wanted, of all layers together.
struct AttentionExtras {
  at::Tensor scores = {};          // of a learned selector, [N,1,T,NC]; undefined: it has none
  at::Tensor scores_weight = {};   // of its divergence (nn/attention/learned_selector.h)
  bool over_all = false;           // the divergence is over all past blocks at each step,
  bool over_chosen = false;        // or over chosen ones; else over what the stream that runs reads
  at::Tensor entropy_weight = {};  // of the mean entropy, in bits, of the stream that runs
};

// Computes attention of q [R,B,T,H,D] over k and v [R,B,T,Hkv,D], which gives [R,B,T,H,D].
// context.plans.attention.blocks stands in for setting.blocks where it is set.
at::Tensor attention(const Site& site, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& setting,
                     const AttentionTables& tables, Context& context, const Epilogue& epilogue = {},
                     const AttentionExtras& extras = {});

// The same by whole score matrices, whatever the length and without epilogue: what blocked kernels
// are measured against.
at::Tensor attention_by_matrices(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const AttentionSetting& setting, const AttentionTables& tables,
                                 Context& context);

}  // namespace tandem
