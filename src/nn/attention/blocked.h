// Attention by the blocked kernels of kernels/attention: no score matrix, and cost that is linear
// in the length of the sequence where blocks are chosen (a GPU's backward pass has, beside that, a
// bit for each query and block). On a CPU for sequences of kBlockedTokens
// and more, on a GPU for those of kBlockedCudaTokens and more in float, with heads of
// kMostCudaHeadDim numbers or fewer; others have the whole matrices of
// nn/attention/two_stream.cpp. So shape, type and device alone say which it is. The two agree to
// rounding, which on a GPU is that of TF32 where LibTorch's products are.
// The kernels choose blocks by pooled keys; choices that they lack are those of
// nn/attention/selector.h, with its tables.
//
// Shapes: those of nn/attention/setting.h; L lists = H or Hkv.
#pragma once

#include <ATen/core/Tensor.h>

#include "nn/attention/selector.h"

namespace tandem {

// From here on the kernels are faster than whole matrices in every shape that was measured
// (results/bench/attention_cpu.txt).
inline constexpr std::int64_t kBlockedTokens = 256;
inline constexpr std::int64_t kBlockedCudaTokens = 128;

bool takes_blocked(const at::Tensor& q);
// The same with a setting, which must leave room for what a tile needs on a GPU.
bool takes_blocked(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting);

// Which blocks each query reads, int32 [R,B,L,T,S], ascending, with -1 in slots that are left over.
// The same choice as chosen_blocks() but for ties that rounding breaks.
// `learned` are scores of a learned selector, where it is one.
at::Tensor lists_of_blocks(const at::Tensor& q, const at::Tensor& k,
                           const AttentionSetting& setting, const AttentionTables& tables,
                           const at::Tensor& learned = {});

// Causal attention of q [R,B,T,H,D] over k and v [R,B,T,Hkv,D], with its gradient: over the blocks
// of the lists, or over everything where these are undefined, and in replicas that full_runs (bool
// [R], or undefined) flags; within the tables' documents.
at::Tensor blocked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             std::int64_t block_size, const AttentionTables& tables,
                             const at::Tensor& lists, const at::Tensor& full_runs);

}  // namespace tandem
