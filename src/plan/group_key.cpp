// Which runs may train together.
#include <map>
#include <mutex>

#include "config/option.h"
#include "core/hash.h"
#include "methods/method.h"
#include "plan/group.h"
#include "policy/demands.h"

namespace tandem {
namespace {

std::string make_key(const Config& config) {
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
  return sha256(key);
}

}  // namespace

// No policy reads a seed, so that a setting's runs have one key; it is made once.
std::string group_key(const Config& config) {
  static std::mutex mutex;
  static std::map<std::string, std::string> keys;
  const std::lock_guard<std::mutex> lock(mutex);
  std::string& key = keys[config.likeness(is_of_repetition)];
  if (key.empty()) key = make_key(config);
  return key;
}

}  // namespace tandem
