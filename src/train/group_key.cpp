// Which runs may train together, and how many of them at once.
#include <algorithm>

#include "config/option.h"
#include "methods/method.h"
#include "train/group.h"

namespace tandem {

std::string group_key(const Config& config) {
  std::string key;
  for (const auto& [name, value] : config.values()) {
    const Option& each = option(name);
    // Density may differ in a step, but which budgets of a curve exist depends on it.
    const bool differs = each.per_replica && name != "density";
    if (each.scope != OptionScope::kRun || differs) continue;
    key += name + "=" + value + "\n";
  }
  // Numbers that switch a policy on or off change the step's kind.
  for (const Level level : {Level::kAttention, Level::kWeights}) {
    const Policies policies = policies_of(config, level);
    key += level_name(level) + (policies.alignment.alpha > 0 ? ".aligned" : ".free");
    key += policies.dormant.kind == Dormant::Kind::kDecay ? ".decays\n" : "\n";
  }
  return key;
}

namespace {

// Bytes that one replica's step touches: weights, gradients and slots, and its activations.
double working_set_bytes(const Config& config) {
  double weights = 0, activations = 0;
  const auto batch = static_cast<double>(config.integer("batch"));
  if (config.text("model") == "transformer") {
    const auto width = static_cast<double>(config.integer("width"));
    const auto layers = static_cast<double>(config.integer("layers"));
    const auto context = static_cast<double>(config.integer("context"));
    const auto heads = static_cast<double>(config.integer("heads"));
    weights = layers * 12 * width * width + 256 * width;
    activations = batch * context * (layers * (16 * width + 3 * heads * context) + 256);
  } else {
    double inputs = 784;
    for (const std::int64_t units : config.integers("widths")) {
      weights += inputs * static_cast<double>(units);
      activations += batch * (inputs + 2 * static_cast<double>(units));
      inputs = static_cast<double>(units);
    }
  }
  return 4 * (4 * weights + activations);
}

}  // namespace

std::int64_t group_size(const Config& config, const std::string& device) {
  const double bytes = working_set_bytes(config);
  if (device.rfind("cuda", 0) == 0) {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(48e9 / bytes / 4), 1, 1024);
  }
  // A group gains while it shares the cost of each call and loses once it leaves the cache.
  constexpr double kCacheBytes = 8e6;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(kCacheBytes / bytes), 1, 16);
}

}  // namespace tandem
