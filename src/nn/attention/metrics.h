// These functions measure how concentrated attention is and what the sparse stream leaves out
// (arXiv 2511.20102, Definition 1 and Theorem 1). Everything is per query: weights a [...,T,T] go
// in, and numbers [...,T] come out.
//   kept(t)    = sum of a(t,j) over the chosen keys j <= t, the query's own position among them
//   dropped(t) = 1 - kept(t), summed over what is left out so that small values keep their digits
//   entropy(t) = -sum a log2 a, in bits
//   h_full - h_sparse = dropped (h_drop - h_sparse), h_drop the attention over what is left out, so
//   |h_full - h_sparse| <= dropped (max |v_j| over what is left out + |h_sparse|)
// `a` are always the full stream's weights.
//
// Shapes: R replicas, B examples, H query heads, Hkv key heads, T tokens, D numbers of a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

at::Tensor kept_mass(const at::Tensor& weights, const at::Tensor& selected);
at::Tensor dropped_mass(const at::Tensor& weights, const at::Tensor& selected);
at::Tensor entropy_bits(const at::Tensor& weights);

// Returns the kept mass under the best possible choice of `blocks` blocks, the query's own among
// them, where `sharing` consecutive heads must agree: weights [R,B,H,T,T] -> [R,B,H,T]. The
// difference to kept_mass is the selector's error; this alone is concentration.
at::Tensor oracle_mass(const at::Tensor& weights, std::int64_t block_size, std::int64_t blocks,
                       std::int64_t sharing);

struct StreamGap {
  at::Tensor error;          // |h_full - h_sparse|
  at::Tensor bound;          // the bound of Theorem 1
  at::Tensor dropped;        // delta
  at::Tensor drop_distance;  // |h_drop - h_sparse| = error / delta; 0 where nothing is dropped
  at::Tensor sparse_norm;    // |h_sparse|
};

// Returns numbers [R,B,H,T] from weights [R,B,H,T,T], `selected` of the same shape, and v
// [R,B,T,Hkv,D].
StreamGap stream_gap(const at::Tensor& weights, const at::Tensor& selected, const at::Tensor& v);

// Blocks that so many queries in a row read together, over what one of them reads on average: from
// 1, where they agree, to `queries`, where they share none. `selected` is bool [R,B,H,T,T]; the
// groups begin at query `first`, and a last one that is short is left out. Returns the mean over
// examples, heads and groups, [R] in double precision; undefined where there is no group.
at::Tensor union_of_blocks(const at::Tensor& selected, std::int64_t block_size,
                           std::int64_t queries, std::int64_t first);

}  // namespace tandem
