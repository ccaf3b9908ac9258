#include "nn/attention/module.h"

namespace tandem {

Registry<AttentionModuleFactory>& attention_modules() {
  static Registry<AttentionModuleFactory> registry;
  return registry;
}

}  // namespace tandem
