// A selector with parameters. What it says of blocks comes from the residual stream, not from the
// queries and keys of the attention that it serves, and it learns by a term of its own in the loss,
// which reaches its own parameters alone: the model learns nothing from it, and it nothing from the
// labels.
//
// Shapes: those of nn/attention/setting.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nn/attention/selector.h"
#include "nn/model.h"

namespace tandem {

struct AttentionInput;

class LearnedSelector {
 public:
  virtual ~LearnedSelector() = default;
  virtual std::vector<Parameter*> parameters() = 0;
  // Scores of the complete blocks for each query, [N,1,T,NC]: a softmax over the past ones is their
  // importance. Part of the graph.
  virtual at::Tensor scores(const AttentionInput& input) const = 0;
  // Weights of its own that every token is multiplied with.
  virtual double dense_products() const = 0;
};

// Which past blocks the divergence is taken over, bool that broadcasts over [N,1,T,NC]: all of
// them, or the chosen ones (bool [N,L',T,NB]) but in replicas that are flagged in all (bool [R],
// or undefined).
at::Tensor divergence_blocks(const SelectorInput& input, const at::Tensor& chosen,
                             const at::Tensor& all);

// KL(p || softmax(scores)) in nats, [R], over the blocks `among`: p is how the full attention of
// the heads that share a key head, added up, spreads over them (DeepSeek-V3.2, arXiv 2512.02556,
// equations 3 and 4, there over tokens). The mean over the queries that have such a block.
// `attention_scores` are the products of queries and keys, [N,G T,T]; no gradient reaches them.
at::Tensor selector_divergence(const SelectorInput& input, const at::Tensor& scores,
                               const at::Tensor& attention_scores, const at::Tensor& among);

}  // namespace tandem
