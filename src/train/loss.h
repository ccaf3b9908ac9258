// Task losses over the replica axis.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// Mean cross-entropy per replica [R], nats: sum_b w_b ce_b / sum_b w_b.
// logits [R,N,C], target int64 [R,N], weight [R,N] or undefined (1); outputs_allowed bool [R,N,C]
// or undefined: where false, the output takes no part in the softmax.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, const at::Tensor& outputs_allowed);
// The sum per replica [R] of each row's cross-entropy times its share [R,N].
at::Tensor shared_cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                                const at::Tensor& share, const at::Tensor& outputs_allowed);

// A loss [R] times how much its pass counts for each replica, [R] or undefined (1). Nothing of a
// pass that does not count leaks, also where it diverged: it is a choice, not a product.
at::Tensor where_it_counts(const at::Tensor& loss, const at::Tensor& loss_weight);

// Without gradient, for read-outs. Per example [R,N]: loss and whether the largest logit is the
// target (the first of equals).
struct ExampleScores {
  at::Tensor loss, correct;
};
ExampleScores score_examples(const at::Tensor& logits, const at::Tensor& target,
                             const at::Tensor& outputs_allowed);

// Adds a term to a sum; either may be undefined, which is nothing.
inline void add_term(at::Tensor& sum, const at::Tensor& term) {
  if (term.defined()) sum = sum.defined() ? sum + term : term;
}

}  // namespace tandem
