#include "methods/method.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "methods/fresh_batches.h"
#include "methods/granularity.h"

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
  Policies policies = registry.at(kind, config.text(kind))(config);
  if (level == Level::kAttention) return policies;
  check_granularity(policies.start, policies.topology);
  read_uncut_gradients(policies);
  return policies;
}

std::string divergence_warning(const Config& config) {
  const Policies of_weights = policies_of(config, Level::kWeights);
  const Alignment& weights = of_weights.alignment;
  std::vector<std::string> sentences;
  if (weights.alpha > 0 && !weights.propagated && weights.lambda_full == 0 &&
      weights.lambda_sparse > 0) {
    sentences.push_back(
        "weights_lambda_full = 0 with a local counterpart is known to diverge: the pull of the "
        "sparse stream toward the full one moves the active weights, on which their difference "
        "does not depend, so nothing restores it. Give weights_lambda_full > 0, or align the "
        "logits with --weights-counterpart propagated.");
  }
  const Alignment attention = policies_of(config, Level::kAttention).alignment;
  if (attention.alpha > 0 && (attention.lambda_full == 0) != (attention.lambda_sparse == 0)) {
    sentences.push_back(
        "one-sided alignment of attention is known to diverge or to collapse (arXiv 2511.20102, "
        "table 3): give both attention_lambda_full and attention_lambda_sparse.");
  }
  if (of_weights.schedule.draws_per_layer()) {
    sentences.push_back(
        "weights_draw = layer mixes the streams within a pass, so that neither the full network "
        "nor the sparse one is ever trained as a whole. Read both out, or give --weights-draw "
        "step.");
  }
  return fmt::format("{}", fmt::join(sentences, " "));
}

}  // namespace tandem
