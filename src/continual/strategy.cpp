// Strategies by name.
#include "continual/strategy.h"

namespace tandem {

Registry<StrategyFactory>& strategies() {
  static Registry<StrategyFactory> registry;
  return registry;
}

}  // namespace tandem
