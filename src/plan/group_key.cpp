// Which runs may train together.
#include "config/option.h"
#include "methods/method.h"
#include "plan/group.h"
#include "policy/demands.h"

namespace tandem {

std::string group_key(const Config& config) {
  std::string key;
  config.visit_values([&key](const std::string& name, const std::string& value) {
    const Option& each = option(name);
    if (each.scope != OptionScope::kRun || each.per_replica) return;
    key += name + "=" + value + "\n";
  });
  if (config.text("widths_match") == "density") key += "width_density=" + config.text("density");
  // Numbers that switch a policy on or off change the step's kind.
  for (const Level level : kLevels) {
    key += level_name(level) + "=" + demands_of(policies_of(config, level)).kind + "\n";
  }
  return key;
}

}  // namespace tandem
