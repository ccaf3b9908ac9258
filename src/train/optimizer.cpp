#include "train/optimizer.h"

#include "data/tensor.h"
#include "kernels/update/update_cuda.h"
#include "topology/connections.h"

namespace tandem {

Registry<OptimizerFactory>& optimizers() {
  static Registry<OptimizerFactory> registry;
  return registry;
}

Optimizer::Optimizer(const std::vector<Config>& configs) {
  for (const Config& each : configs) {
    numbers_.push_back({each.real("momentum"), each.real("weight_decay"), each.real("clip")});
    clips_ = clips_ || numbers_.back().clip > 0;
  }
}

void Optimizer::allocate(at::Device device) {
  const auto count = static_cast<std::int64_t>(numbers_.size());
  constants_ =
      torch::from_blob(numbers_.data(), {count, kernels::kReplicaConstants}, torch::kFloat64)
          .to(device);
  const auto size = static_cast<std::int64_t>(sizeof(kernels::ReplicaUpdate));
  updates_ = torch::zeros({count * size}, torch::device(device).dtype(torch::kUInt8));
  const auto real = torch::device(device).dtype(torch::kFloat64);
  if (!clips_) return;
  squares_ = torch::zeros({count}, real);
  if (device.is_cuda()) scratch_ = torch::empty({count, kernels::kSquaresParts}, real);
}

void Optimizer::step(const std::vector<Parameter*>& parameters, const at::Tensor& numbers,
                     const at::Tensor& loss, const at::Tensor& alignment, at::Tensor& state) {
  if (!constants_.defined()) allocate(state.device());
  std::vector<at::Tensor> active(parameters.size());
  if (clips_) squares_.zero_();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor& gradient = parameters[i]->value.mutable_grad();
    if (!gradient.defined()) continue;
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
    if (parameters[i]->connections) active[i] = parameters[i]->connections->active_flags();
    if (clips_) {
      add_squares(gradient, active[i], parameters[i]->segments(), numbers, scratch_, squares_);
    }
  }
  settle_step(numbers, constants_, loss, alignment, squares_, state, updates_);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i]->value.grad().defined()) continue;
    update(*parameters[i], {parameters[i]->flat(), parameters[i]->value.grad(), active[i], updates_,
                            parameters[i]->segments()});
  }
}

}  // namespace tandem
