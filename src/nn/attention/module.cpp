#include "nn/attention/module.h"

#include "data/tensor.h"

namespace tandem {

NumbersOfRuns AttentionPlace::numbers(const std::string& option) const {
  std::vector<double> values;
  for (const Config& config : configs) values.push_back(config.real(option));
  return torch::tensor(values, torch::dtype(shape.dtype));
}

void offer_attention(const std::string& site, const SelectorInput& input, const at::Tensor& scores,
                     const at::Tensor& chosen, const at::Tensor& v, Context& context) {
  const at::NoGradGuard no_grad;
  const Folded& f = input.heads;
  const at::Tensor& mask = input.tables.causal();
  const std::vector<std::int64_t> shape = {f.replicas, f.batch, f.heads, f.tokens, f.tokens};
  context.observe_tensor(site, kObserveWeights, masked_softmax(f, scores, mask).view(shape));
  const at::Tensor causal = mask.isfinite();
  const at::Tensor selected = chosen.defined()
                                  ? spread_over_keys(chosen, input.setting.block_size, f.tokens)
                                        .logical_and(causal)
                                        .expand({f.products(), f.group(), f.tokens, f.tokens})
                                        .reshape(shape)
                                  : causal.expand(shape);
  context.observe_tensor(site, kObserveSelected, selected);
  context.observe_tensor(site, kObserveValues, v);
}

Registry<AttentionModuleKind>& attention_modules() {
  static Registry<AttentionModuleKind> registry;
  return registry;
}

}  // namespace tandem
