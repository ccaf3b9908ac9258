// Which runs may train together.
#include "config/option.h"
#include "methods/method.h"
#include "plan/group.h"

namespace tandem {

std::string group_key(const Config& config) {
  std::string key;
  for (const auto& [name, value] : config.values()) {
    const Option& each = option(name);
    if (each.scope != OptionScope::kRun || each.per_replica) continue;
    key += name + "=" + value + "\n";
  }
  if (config.text("widths_match") == "density") key += "width_density=" + config.text("density");
  // Numbers that switch a policy on or off change the step's kind.
  for (const Level level : {Level::kAttention, Level::kWeights}) {
    const Policies policies = policies_of(config, level);
    key += level_name(level) + (policies.alignment.alpha > 0 ? ".aligned" : ".free");
    if (policies.alignment.gap_target > 0) key += ".steered";
    key += policies.dormant.kind == Dormant::Kind::kDecay ? ".decays\n" : "\n";
  }
  return key;
}

}  // namespace tandem
