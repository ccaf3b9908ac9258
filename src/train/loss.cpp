#include "train/loss.h"

#include <limits>

#include "core/shape.h"
#include "data/tensor.h"

namespace tandem {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

at::Tensor restrict(const at::Tensor& logits, const at::Tensor& allowed) {
  if (!allowed.defined()) return logits;
  return logits.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
}

// One node in the graph instead of five; the gradient is share (softmax - onehot), taken row by
// row, so that a replica's bits don't depend on company.
struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits,
                            const at::Tensor& target, const at::Tensor& share) {
    at::NoGradGuard no_grad;
    const at::Tensor log_p = torch::log_softmax(logits, -1);
    const at::Tensor index = target.unsqueeze(-1);
    ctx->save_for_backward({log_p, index, share});
    return (log_p.gather(-1, index).squeeze(-1) * share).sum(1).neg();
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& log_p = saved[0];
    const at::Tensor pull = (saved[2] * outer[0].unsqueeze(1)).neg().unsqueeze(-1);
    const at::Tensor at_output = torch::zeros_like(log_p).scatter_(-1, saved[1], pull);
    return {at::_log_softmax_backward_data(at_output, log_p, -1, log_p.scalar_type()), {}, {}};
  }
};

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, const at::Tensor& outputs_allowed) {
  expect_shape(target, {logits.size(0), logits.size(1)}, "target");
  // A whole batch rounds like weights of 1, so that company which pads changes nothing.
  const at::Tensor share =
      weight.defined()
          ? at::Tensor(weight / weight.sum(1, true).clamp_min(1e-30))
          : torch::ones(target.sizes(), logits.options().requires_grad(false)).div_(target.size(1));
  return CrossEntropy::apply(restrict(logits, outputs_allowed), target, share);
}

at::Tensor shared_cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                                const at::Tensor& share, const at::Tensor& outputs_allowed) {
  expect_shape(target, {logits.size(0), logits.size(1)}, "target");
  return CrossEntropy::apply(restrict(logits, outputs_allowed), target, share);
}

at::Tensor where_it_counts(const at::Tensor& loss, const at::Tensor& loss_weight) {
  if (!loss_weight.defined() || !loss.defined()) return loss;
  return torch::where(loss_weight > 0, loss * loss_weight, torch::zeros_like(loss));
}

ExampleScores score_examples(const at::Tensor& logits, const at::Tensor& target,
                             const at::Tensor& outputs_allowed) {
  at::NoGradGuard no_grad;
  const at::Tensor seen = restrict(logits, outputs_allowed);
  const at::Tensor loss =
      torch::log_softmax(seen, -1).gather(-1, target.unsqueeze(-1)).squeeze(-1).neg();
  return {loss, seen.argmax(-1) == target};
}

}  // namespace tandem
