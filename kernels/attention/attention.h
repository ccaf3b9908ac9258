// Causal grouped-query attention over chosen blocks of keys, and the choice of the blocks.
//
// q, o [B,T,H,d]; k, v [B,T,Hkv,d]; lse [B,T,H]; query head h reads key head h / (H / Hkv).
//   o(t) = sum_j a(t,j) v_j,  a = softmax over the readable j <= t of q_t.k_j / sqrt(d)
//   lse(t) = log sum_j exp(q_t.k_j / sqrt(d)), natural logarithm
// Block b holds keys [b BS, (b+1) BS); the last one may be short. A query reads the blocks of its
// list `chosen` [B,Hs,T,S] (ascending, -1 = empty slot), Hs = Hkv where the heads of a group share
// one list and H where each has its own. A list always holds the query's own block t / BS.
//
// Choice (SSA's code, arXiv 2511.20102, which is NSA's selector; keys are pooled after rotation):
//   kbar_b = mean of the keys of block b
//   p_h(t,b) = exp(s - log sum_{b' < (t+1)/BS} exp(s')), s = q_t.kbar_b / sqrt(d)
//   I(t,b) = sum of p_h over the heads that share the list, for past blocks b < t/BS
// and the own block comes first always, then the S - 1 largest I, ties to the smaller index. The
// sum in p runs over *complete* blocks, so it counts the own block at its last query. The released
// code forces the own block by p = 1, which a saturated p could tie with; here it is first by rule.
// MoBA (arXiv 2502.13189): per head, I = q_t.kbar_b.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem::kernels {

enum class AttentionStatus {
  kOk = 0,
  kBadShape,   // a size below 1, or heads not a multiple of kv_heads
  kBadChoice,  // a list without the own block, with a future block, or not ascending
};

struct AttentionShape {
  std::int64_t batch = 1, tokens = 1, heads = 1, kv_heads = 1, head_dim = 1;
  std::int64_t block_size = 1;
  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t blocks() const { return (tokens + block_size - 1) / block_size; }
  std::int64_t complete_blocks() const { return tokens / block_size; }
};

struct BlockSelector {
  bool per_head = false;     // a list for each query head; else for each key head
  bool softmax = true;       // p above; else the plain product
  bool force_first = false;  // block 0 is chosen before any other past block
  std::int64_t lists(const AttentionShape& shape) const {
    return per_head ? shape.heads : shape.kv_heads;
  }
};

// The interface of every implementation of the blocked forward pass. Arrays lie as described above,
// contiguous; `slots` is S and `lists` is Hs. `stream` is a cudaStream_t for device
// implementations.
template <class T>
struct BlockAttention {
  AttentionShape shape;
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  const std::int32_t* chosen = nullptr;  // null: every block (full causal attention)
  std::int64_t lists = 0, slots = 0;
  T* o = nullptr;
  T* lse = nullptr;  // may be null
  void* stream = nullptr;
};

// Double-precision reference, by plain loops.
AttentionStatus attention_forward_ref(const BlockAttention<double>& call);

// The reference's attention weights [B,H,T,T], zero where nothing is read.
AttentionStatus attention_weights_ref(const BlockAttention<double>& call, double* weights);

// kbar [B,NC,Hkv,d] of the NC complete blocks.
AttentionStatus block_keys_ref(const AttentionShape& shape, const double* k, double* kbar);

// I [B,Hs,T,NC]; -infinity where the block is not a past one.
AttentionStatus block_importance_ref(const AttentionShape& shape, const BlockSelector& selector,
                                     const double* q, const double* kbar, double* importance);

// chosen [B,Hs,T,slots] from I.
AttentionStatus choose_blocks_ref(const AttentionShape& shape, const BlockSelector& selector,
                                  std::int64_t slots, const double* importance,
                                  std::int32_t* chosen);

// The three in a row.
std::vector<std::int32_t> select_blocks_ref(const AttentionShape& shape,
                                            const BlockSelector& selector, std::int64_t slots,
                                            const double* q, const double* k);

// Number of (query, key) pairs that one head reads, with `slots` blocks per query (own block
// included), and of (query, complete block) pairs that the selector scores.
std::int64_t attended_pairs(std::int64_t tokens, std::int64_t block_size, std::int64_t slots);
std::int64_t scored_block_pairs(std::int64_t tokens, std::int64_t block_size);

}  // namespace tandem::kernels
