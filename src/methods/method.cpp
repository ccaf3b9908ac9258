#include "methods/method.h"

#include "core/error.h"

namespace tandem {

Registry<MethodFactory>& weights_methods() {
  static Registry<MethodFactory> registry;
  return registry;
}

Registry<MethodFactory>& attention_methods() {
  static Registry<MethodFactory> registry;
  return registry;
}

Policies policies_of(const Config& config, Level level) {
  auto& registry = level == Level::kWeights ? weights_methods() : attention_methods();
  const std::string kind = level_name(level);
  return registry.at(kind, config.text(kind))(config);
}

std::string divergence_warning(const Config& config) {
  const Alignment weights = policies_of(config, Level::kWeights).alignment;
  if (weights.alpha > 0 && !weights.propagated && weights.lambda_full == 0 &&
      weights.lambda_sparse > 0) {
    return "weights_lambda_full = 0 with a local counterpart is known to diverge: the pull of the "
           "sparse stream toward the full one moves the active weights, on which their difference "
           "does not depend, so nothing restores it. Give weights_lambda_full > 0, or align the "
           "logits with --weights-counterpart propagated.";
  }
  const Alignment attention = policies_of(config, Level::kAttention).alignment;
  if (attention.alpha > 0 && (attention.lambda_full == 0) != (attention.lambda_sparse == 0)) {
    return "one-sided alignment of attention is known to diverge or to collapse (arXiv 2511.20102, "
           "table 3): give both attention_lambda_full and attention_lambda_sparse.";
  }
  return "";
}

}  // namespace tandem
