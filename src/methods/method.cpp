#include "methods/method.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "methods/fresh_batches.h"
#include "policy/rules.h"

namespace tandem {

Registry<MethodFactory>& weights_methods() {
  static Registry<MethodFactory> registry;
  return registry;
}

Registry<MethodFactory>& attention_methods() {
  static Registry<MethodFactory> registry;
  return registry;
}

PerLevel<Policies> policies_of(const Config& config) {
  PerLevel<Policies> policies;
  for (const Level level : kLevels) policies[level] = policies_of(config, level);
  return policies;
}

Policies policies_of(const Config& config, Level level) {
  auto& registry = level == Level::kWeights ? weights_methods() : attention_methods();
  const std::string kind = level_name(level);
  Policies policies = registry.at(kind, config.text(kind))(config);
  if (level == Level::kAttention) {
    check_attention_policies(policies);
    return policies;
  }
  check_policies(policies);
  read_uncut_gradients(policies);
  return policies;
}

std::string divergence_warning(const Config& config) {
  return fmt::format("{}", fmt::join(policy_warnings(policies_of(config, Level::kWeights),
                                                     policies_of(config, Level::kAttention)),
                                     " "));
}

}  // namespace tandem
