#include "nn/attention/learned_selector.h"

#include <limits>

#include "data/tensor.h"

namespace tandem {

at::Tensor divergence_blocks(const SelectorInput& input, const at::Tensor& chosen,
                             const at::Tensor& all) {
  const at::Tensor& past = input.tables.past();
  if (!chosen.defined()) return past;
  at::Tensor among = chosen.slice(1, 0, 1).slice(-1, 0, input.complete());
  if (all.defined()) among = among.logical_or(input.heads.of_products(all));
  return among.logical_and(past);
}

at::Tensor selector_divergence(const SelectorInput& input, const at::Tensor& scores,
                               const at::Tensor& attention_scores, const at::Tensor& among) {
  const at::Tensor there = among.any(-1, /*keepdim=*/true);
  at::Tensor target;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor mass = full_mass(input, attention_scores).sum(1, /*keepdim=*/true) * among;
    target =
        mass /
        mass.sum(-1, /*keepdim=*/true).clamp_min(std::numeric_limits<float>::min());  // [N,1,T,NC]
  }
  // A query without such a block has a softmax over all of them, and then none of it counts.
  const at::Tensor counts = among.logical_or(there.logical_not());
  const at::Tensor masked =
      torch::where(counts, scores, scores.new_full({}, -std::numeric_limits<double>::infinity()));
  const at::Tensor log_shares =
      torch::where(among, torch::log_softmax(masked, -1), scores.new_zeros({}));
  const at::Tensor divergence = (torch::xlogy(target, target) - target * log_shares).sum(-1);
  const std::int64_t replicas = input.heads.replicas;
  const at::Tensor queries = there.squeeze(-1)
                                 .expand(divergence.sizes())
                                 .to(divergence.scalar_type())
                                 .reshape({replicas, -1})
                                 .sum(1)
                                 .clamp_min(1);
  return divergence.reshape({replicas, -1}).sum(1) / queries;
}

}  // namespace tandem
