// Scenarios by name, and what holds for every one of them.
#include "continual/scenario.h"

namespace tandem {

Registry<ScenarioFactory>& scenarios() {
  static Registry<ScenarioFactory> registry;
  return registry;
}

TaskSequence make_tasks(const Config& config, const Dataset& data) {
  return scenarios().at("scenario", config.text("scenario"))(config, data);
}

}  // namespace tandem
