// Grouped-query attention over all keys or over chosen blocks of keys, forward and backward, and
// the choice of the blocks.
//
// q, o [B,T,H,d]; k, v [B,T,Hkv,d]; lse [B,T,H]; query head h reads key head h / (H / Hkv).
//   o(t) = sum_j a(t,j) v_j,  a = softmax over the readable j of q_t.k_j / sqrt(d)
//   lse(t) = log sum_j exp(q_t.k_j / sqrt(d)), natural logarithm
//   ds(t,j) = a(t,j) (do_t.v_j - do_t.o_t) / sqrt(d)
//   dq_t = sum_j ds k_j,  dk_j = sum_{t,h} ds q_t,  dv_j = sum_{t,h} a(t,j) do_t
// Range: query t can read the keys of its document up to itself; those of the whole document where
// `causal` is false. Documents lie one behind the other, and document_start [B,T] holds the index
// of the first token of each token's document; without it an item is one document.
// Block b holds keys [b BS, (b+1) BS); the last one may be short. A query reads that part of its
// range which lies in the blocks of its list `chosen` [B,Hs,T,S] (ascending, -1 = empty slot),
// Hs = Hkv where the heads of a group share one list and H where each has its own. A list always
// holds the query's own block t / BS. So a block can be cut by the document's start and by the
// query itself, and one that lies outside of the document adds nothing.
//
// Choice (SSA's code, arXiv 2511.20102, which is NSA's selector; keys are pooled after rotation):
//   kbar_b = mean of the keys of block b that belong to the document of the block's last key
//   p_h(t,b) = exp(s - log sum_{complete b'} exp(s')), s = q_t.kbar_b / sqrt(d)
//   I(t,b) = sum of p_h over the heads that share the list, for the candidates b
// and the own block comes first always, then the S - 1 largest I, ties to the smaller index. A
// block is complete for t if it has BS keys and t can read the last of them; the complete blocks
// but for the own one are the candidates. A query that can read a block's last key belongs to its
// document, so that kbar never mixes documents. In one causal document the blocks b < (t+1)/BS are
// complete and the past ones, b < t/BS, are the candidates: the sum in p counts the own block at
// its last query. The released code forces the own block by p = 1, which a saturated p could tie
// with; here it is first by rule. MoBA (arXiv 2502.13189): per head, I = q_t.kbar_b.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem::kernels {

enum class AttentionStatus {
  kOk = 0,
  kBadShape,      // a size below 1, heads not a multiple of kv_heads, or 2^31 tokens or more
  kBadChoice,     // a list without the own block, with an unreadable block, or not ascending
  kBadDocuments,  // a document that begins neither at its token nor where the last token's does
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
  bool force_first = false;  // the block where the document starts precedes the other candidates
  std::int64_t lists(const AttentionShape& shape) const {
    return per_head ? shape.heads : shape.kv_heads;
  }
};

// Items [first, first + count) of the batch are computed; the rest of the outputs is left alone.
// A call uses one thread. Items share nothing, so callers give ranges of them to threads, and the
// bits of an item do not depend on what else is in the call.
struct ItemRange {
  std::int64_t first = 0;
  std::int64_t count = -1;  // -1: to the end of the batch
};

// The interface of every implementation of the forward pass. Arrays lie as described above,
// contiguous; `slots` is S and `lists` is Hs. `stream` is a cudaStream_t for device
// implementations.
template <class T>
struct BlockAttention {
  AttentionShape shape = {};
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  const std::int32_t* chosen = nullptr;  // null: every block (full attention)
  std::int64_t lists = 0, slots = 0;
  const std::uint8_t* full_items = nullptr;      // [B] nonzero: reads every block all the same
  const std::int32_t* document_start = nullptr;  // [B,T]
  bool causal = true;
  T* o = nullptr;
  T* lse = nullptr;  // may be null
  ItemRange items = {};
  void* stream = nullptr;
};

// The same for the backward pass; o and lse are those of the forward pass. All three gradients are
// overwritten. Their sums run in the order of queries (dk, dv) and of keys (dq) and depend on the
// shape and the lists alone.
template <class T>
struct BlockAttentionGradient {
  BlockAttention<T> forward = {};
  const T* d_o = nullptr;  // [B,T,H,d]
  T* dq = nullptr;         // [B,T,H,d]
  T* dk = nullptr;         // [B,T,Hkv,d]
  T* dv = nullptr;         // [B,T,Hkv,d]
};

// The same for the choice of `slots` blocks per query. A NaN counts as the least important.
template <class T>
struct BlockChoice {
  AttentionShape shape = {};
  BlockSelector selector = {};
  std::int64_t slots = 1;
  const T* q = nullptr;
  const T* k = nullptr;
  const std::uint8_t* full_items = nullptr;      // [B] nonzero: its lists are left alone
  const std::int32_t* document_start = nullptr;  // [B,T]
  bool causal = true;
  std::int32_t* chosen = nullptr;  // [B,selector.lists(shape),T,slots]
  ItemRange items = {};
  void* stream = nullptr;
};

// On a CPU, float and double. Beside the arrays they need O(T d) numbers for one key head at a
// time, and a small tile; the choice needs O(T/BS) more for a few queries. exp and log are their
// own (within 1.1 and 3 ulp), so that no result depends on the C library. AVX-512, AVX2 and the
// portable version add up in different orders and agree to rounding.
template <class T>
AttentionStatus attention_forward(const BlockAttention<T>& call);
template <class T>
AttentionStatus attention_backward(const BlockAttentionGradient<T>& call);
template <class T>
AttentionStatus select_blocks(const BlockChoice<T>& call);

// Double-precision references, by plain loops. They compute all items.
AttentionStatus attention_forward_ref(const BlockAttention<double>& call);
AttentionStatus attention_backward_ref(const BlockAttentionGradient<double>& call);
AttentionStatus select_blocks_ref(const BlockChoice<double>& call);

// The reference's attention weights [B,H,T,T], zero where nothing is read.
AttentionStatus attention_weights_ref(const BlockAttention<double>& call, double* weights);

// The parts of select_blocks_ref. kbar [B,NC,Hkv,d] of the NC blocks that have BS keys; importance
// I [B,Hs,T,NC], -infinity where the block is not a candidate.
AttentionStatus block_keys_ref(const BlockChoice<double>& call, double* kbar);
AttentionStatus block_importance_ref(const BlockChoice<double>& call, const double* kbar,
                                     double* importance);
AttentionStatus choose_blocks_ref(const BlockChoice<double>& call, const double* importance);

// The reference's lists [B,Hs,T,slots] of one causal document per item; empty for a wrong shape.
std::vector<std::int32_t> select_blocks_ref(const AttentionShape& shape,
                                            const BlockSelector& selector, std::int64_t slots,
                                            const double* q, const double* k);

// Whether the arguments are right for the items of the call: what every implementation on a CPU
// refuses. Reads the lists and document_start.
template <class T>
AttentionStatus check_attention(const BlockAttention<T>& call);
template <class T>
AttentionStatus check_choice(const BlockChoice<T>& call);

// The keys [begin, end) that each query of an item can read; of [T] each. document_start is the
// item's row or null.
void readable_ranges(std::int64_t tokens, const std::int32_t* document_start, bool causal,
                     std::int32_t* begin, std::int32_t* end);

// Number of (query, key) pairs that one head reads, with `slots` blocks per query (own block
// included), and of (query, complete block) pairs that the selector scores, in one causal document.
std::int64_t attended_pairs(std::int64_t tokens, std::int64_t block_size, std::int64_t slots);
std::int64_t scored_block_pairs(std::int64_t tokens, std::int64_t block_size);

}  // namespace tandem::kernels
