#include "nn/attention/module.h"

namespace tandem {

Registry<AttentionModuleKind>& attention_modules() {
  static Registry<AttentionModuleKind> registry;
  return registry;
}

}  // namespace tandem
