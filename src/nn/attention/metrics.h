// These functions measure how concentrated attention is and what the sparse stream leaves out
// (arXiv 2511.20102, Definition 1 and Theorem 1). Everything is per query: weights a [...,Q,T] go
// in, and numbers [...,Q] come out.
//   kept(t)    = sum of a(t,j) over the chosen keys j <= t, the query's own position among them
//   dropped(t) = 1 - kept(t), summed over what is left out so that small values keep their digits
//   entropy(t) = -sum a log2 a, in bits
//   KL(sparse || full) = -log2 kept, in bits: the sparse stream's weights are a / kept on the
//                chosen keys. KL(full || sparse) is infinite wherever something is dropped.
//   h_full - h_sparse = dropped (h_drop - h_sparse), h_drop the attention over what is left out;
//   |h_full - h_sparse| <= dropped (max |v_j| over what is left out + |h_sparse|)
// `a` are always the full stream's weights.
//
// Shapes: R replicas, B examples, H query heads, Hkv key heads, L lists of blocks (H or Hkv), T
// tokens, Q queries that are looked at, D numbers of a head, NB blocks. `queries` are the places of
// the queries, int64 [Q], ascending.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

// So many queries of a sequence are looked at, if there are more, in runs of so many in a row.
inline constexpr std::int64_t kObservedQueries = 1024;
inline constexpr std::int64_t kRunOfQueries = 8;

// The queries that are looked at, int64 [Q] on the CPU: all from `first` on where these are at most
// `most`, a multiple of kRunOfQueries. Else the sequence from `first` on is cut into runs of
// kRunOfQueries, and most / kRunOfQueries of them are taken: one of each of as many equal parts, at
// a place within the part that goes round by the golden section, so that no place within a block is
// met more often than another. They depend on these three numbers alone.
at::Tensor observed_queries(std::int64_t tokens, std::int64_t first,
                            std::int64_t most = kObservedQueries);

// Which keys these queries read: bool [R,B,H,Q,T] from chosen blocks, bool [R,B,L,Q,NB], and of
// packed documents from where each token's begins, int64 [R,B,T].
at::Tensor selected_keys(const at::Tensor& chosen, const at::Tensor& queries, std::int64_t heads,
                         std::int64_t block_size, std::int64_t tokens,
                         const at::Tensor& documents = {});

at::Tensor kept_mass(const at::Tensor& weights, const at::Tensor& selected);
at::Tensor dropped_mass(const at::Tensor& weights, const at::Tensor& selected);
at::Tensor entropy_bits(const at::Tensor& weights);
at::Tensor kl_sparse_full(const at::Tensor& kept, const at::Tensor& dropped);

// Returns the kept mass under the best possible choice of `blocks` blocks, the query's own among
// them, where `sharing` consecutive heads must agree: weights [R,B,H,Q,T] -> [R,B,H,Q]. The
// difference to kept_mass is the selector's error; this alone is concentration.
at::Tensor oracle_mass(const at::Tensor& weights, const at::Tensor& queries,
                       std::int64_t block_size, std::int64_t blocks, std::int64_t sharing);

struct StreamGap {
  at::Tensor error;          // |h_full - h_sparse|
  at::Tensor bound;          // the bound of Theorem 1
  at::Tensor dropped;        // delta
  at::Tensor drop_distance;  // |h_drop - h_sparse| = error / delta; 0 where nothing is dropped
  at::Tensor sparse_norm;    // |h_sparse|
};

// Returns numbers [R,B,H,Q] from weights [R,B,H,Q,T], `selected` of the same shape, and v
// [R,B,T,Hkv,D].
StreamGap stream_gap(const at::Tensor& weights, const at::Tensor& selected, const at::Tensor& v,
                     const at::Tensor& queries);

// Blocks that so many queries in a row read together, over what one of them reads on average: from
// 1, where they agree, to `together`, where they share none. `chosen` is bool [R,B,L,Q,NB], of
// queries as observed_queries() gives them; the groups begin at the first, and a last one that is
// short is left out. Returns the mean over examples, lists and groups, [R] in double precision;
// undefined where there is no group.
at::Tensor union_of_blocks(const at::Tensor& chosen, std::int64_t together);

}  // namespace tandem
