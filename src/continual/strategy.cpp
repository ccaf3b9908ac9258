// Strategies by name, and what their files share.
#include "continual/strategy.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/tensor.h"

namespace tandem {

Registry<StrategyFactory>& strategies() {
  static Registry<StrategyFactory> registry;
  return registry;
}

void Strategy::load(std::int64_t /*r*/, const std::string& name, const at::Tensor& values) {
  refuse_state(view_.configs.front().text("strategy"), name, values, "nothing");
}

at::Tensor integers_tensor(const std::vector<std::int64_t>& values) {
  return torch::tensor(values, torch::kInt64);
}

std::vector<std::int64_t> integers_in(const at::Tensor& values) {
  const at::Tensor whole = values.to(torch::kCPU, torch::kInt64).contiguous();
  const auto* begin = whole.data_ptr<std::int64_t>();
  return {begin, begin + whole.numel()};
}

at::Tensor per_replica(const StrategyView& view,
                       const std::function<double(const Config&)>& number) {
  std::vector<double> numbers;
  for (const Config& config : view.configs) numbers.push_back(number(config));
  return torch::tensor(numbers, torch::kFloat64).to(view.options);
}

void refuse_state(const std::string& strategy, const std::string& name, const at::Tensor& values,
                  const std::string& expected) {
  throw StoreError(fmt::format(
      "a checkpoint holds '{}' with {} values; strategy {} expects {}. It is of another run or "
      "damaged: remove it to start the run anew",
      name, values.numel(), strategy, expected));
}

at::Tensor unit_features(const at::Tensor& features) {
  const at::Tensor rows = features.to(torch::kFloat64);
  return rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-30);
}

}  // namespace tandem
