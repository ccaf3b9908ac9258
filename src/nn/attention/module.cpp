#include "nn/attention/module.h"

#include "data/tensor.h"

namespace tandem {

NumbersOfRuns AttentionPlace::numbers(const std::string& option) const {
  std::vector<double> values;
  for (const Config& config : configs) values.push_back(config.real(option));
  return torch::tensor(values, torch::dtype(shape.dtype));
}

Registry<AttentionModuleKind>& attention_modules() {
  static Registry<AttentionModuleKind> registry;
  return registry;
}

}  // namespace tandem
