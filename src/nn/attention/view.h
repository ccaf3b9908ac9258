// What a layer's attention is in one pass, for who looks into it: probes and pictures. Nobody is
// given whole [T,T] matrices; weights and choices are those of the queries that are asked for, so
// that what is held at once is theirs alone.
//
// Shapes: those of nn/attention/setting.h; Q queries that are asked for, as int64 [Q] of their
// places, ascending; L lists of blocks, H or Hkv.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "nn/attention/setting.h"

namespace tandem {

struct AttentionView {
  using OfQueries = std::function<at::Tensor(const at::Tensor& queries)>;

  at::Tensor q = {}, k = {}, v = {};  // [R,B,T,H,D] and [R,B,T,Hkv,D], part of the pass's graph
  // The outputs of the heads before the epilogue, [R,B,T,H,D], part of the same graph: where they
  // are one stream's, and nothing but the softmax attention over what it reads. Else undefined.
  at::Tensor out = {};
  std::int64_t block_size = 1, blocks = 1;  // the pass's budget
  at::Tensor documents = {};  // int64 [R,B,T], where each token's document begins; undefined: at 0
  // The full stream's weights, [R,B,H,Q,T], 0 after a query; and the blocks that queries choose in
  // the sparse stream, bool [R,B,L,Q,NB].
  OfQueries weights = {}, chosen = {};
};

// Queries whose rows of weights are to be there at once: from 8 to 128, so that those of one
// replica have 2^21 numbers at most where that can be. Its company does not count, which would
// change how products round.
std::int64_t queries_together(const AttentionView& view);

// Where the documents of these queries begin, int64 [R,B,1,Q,1], of documents as a view has them;
// undefined where these are: at 0.
at::Tensor starts_of_queries(const at::Tensor& documents, const at::Tensor& queries);

// AttentionView::weights of q [R,B,T,H,D] and k [R,B,T,Hkv,D], within the documents of the tables.
AttentionView::OfQueries causal_weights(const at::Tensor& q, const at::Tensor& k,
                                        const AttentionTables& tables);

// AttentionView::chosen where every query chooses all blocks of its document up to its own, of
// `lists` lists.
AttentionView::OfQueries everything_chosen(const at::Tensor& q, std::int64_t lists,
                                           std::int64_t block_size, const AttentionTables& tables);

}  // namespace tandem
