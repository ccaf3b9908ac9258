// This is two-stream causal attention with grouped query heads, computed with whole score matrices.
//
//   full    softmax over keys j <= t of q_t.k_j / sqrt(d)
//   sparse  the same over the keys of S blocks, chosen per query by the selector, its own among
//   them
// Both streams come from the same q, k, v and the same scores; they meet at the heads' outputs, and
// `epilogue` is the head gate. The choice of blocks carries no gradient. Rules of the choice, and a
// double-precision reference of everything here: kernels/attention/attention.h.
// A budget S that covers every block makes the sparse stream equal the full one, bit for bit.
//
// Shapes: R replicas, B examples, T tokens of a sequence, H query heads, Hkv key heads, D numbers
// of a head, NB blocks of keys, NC blocks that can be complete before a query, L = Hkv or H.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "nn/context.h"
#include "policy/policy.h"

namespace tandem {

struct AttentionSetting {
  std::int64_t block_size = 8;
  std::int64_t blocks = 2;  // S
  Policies::Selector selector;
};

// These are constants of one sequence length, dtype and device; a model makes them once for each.
struct AttentionTables {
  at::Tensor causal;    // [T,T] 0 where key <= query, else -infinity
  at::Tensor complete;  // [T,NC] 0 for blocks b < (t+1)/BS, else -infinity
  at::Tensor past;      // bool [T,NC], b < t/BS
  at::Tensor own;       // bool [T,NB], b == t/BS
  AttentionTables() = default;
  AttentionTables(std::int64_t tokens, std::int64_t block_size, const at::Tensor& like);
};

// attention() offers tensors of these names to Context::observe_tensor, with the layer's name.
inline constexpr const char* kObserveWeights = "attention_weights";    // [R,B,H,T,T], full stream
inline constexpr const char* kObserveSelected = "attention_selected";  // bool [R,B,H,T,T]
inline constexpr const char* kObserveValues = "attention_values";      // v [R,B,T,Hkv,D]
inline constexpr const char* kObserveGate = "attention_gate";          // [R,B,T,H], by the model

// Computes attention of q [R,B,T,H,D] over k and v [R,B,T,Hkv,D], which gives [R,B,T,H,D]. The site
// is (attention, layer). context.plans.attention.blocks stands in for setting.blocks where it is
// set.
at::Tensor attention(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& setting,
                     const AttentionTables& tables, Context& context,
                     const Epilogue& epilogue = {});

// Returns which blocks each query chooses, bool [R,B,L,T,NB], with L = H where selector.per_head is
// set and L = Hkv otherwise. The result carries no gradient.
at::Tensor select_blocks(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting,
                         const AttentionTables& tables);

}  // namespace tandem
