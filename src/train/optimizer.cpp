#include "train/optimizer.h"

#include <utility>

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

void Optimizer::allocate(std::int64_t nets, at::Device device) {
  const auto count = static_cast<std::int64_t>(numbers_.size());
  constants_ =
      torch::from_blob(numbers_.data(), {count, kernels::kReplicaConstants}, torch::kFloat64)
          .to(device);
  const auto size = static_cast<std::int64_t>(sizeof(kernels::ReplicaUpdate));
  updates_ = torch::zeros({nets, count * size}, torch::device(device).dtype(torch::kUInt8));
  const auto real = torch::device(device).dtype(torch::kFloat64);
  if (!clips_) return;
  squares_ = torch::zeros({nets, count}, real);
  if (device.is_cuda()) scratch_ = torch::empty({count, kernels::kSquaresParts}, real);
}

void Optimizer::step(const std::vector<std::vector<Parameter*>>& nets, const at::Tensor& numbers,
                     const StepLosses& losses, at::Tensor& state, const Terms& terms) {
  if (!constants_.defined()) allocate(static_cast<std::int64_t>(nets.size()), state.device());
  std::vector<std::pair<Parameter*, UpdateTensors>> updated;
  if (clips_) squares_.zero_();
  for (std::size_t net = 0; net < nets.size(); ++net) {
    const auto row = static_cast<std::int64_t>(net);
    for (Parameter* parameter : nets[net]) {
      if (!parameter->value.grad().defined()) continue;
      updated.emplace_back(parameter, tensors_of(*parameter, updates_[row], terms));
      if (!clips_) continue;
      const UpdateTensors& own = updated.back().second;
      const at::Tensor counted =
          own.may_change.defined() ? torch::where(own.may_change.ne(0), own.gradient.reshape({-1}),
                                                  torch::zeros({}, own.gradient.options()))
                                   : own.gradient;
      add_squares(counted, own.gradient_set.defined() ? own.gradient_set : own.active, own.segments,
                  numbers, scratch_, squares_[row]);
    }
  }
  finish_step(numbers, constants_, losses, squares_, state, updates_);
  for (auto& [parameter, tensors] : updated) {
    is_raised(*parameter) ? update_raised(*parameter, tensors) : update(*parameter, tensors);
  }
}

// The root moves, and a path is along the weight that follows from it.
void Optimizer::update_raised(Parameter& parameter, UpdateTensors tensors) {
  at::Tensor along, path, before, weight = parameter.flat();
  std::swap(along, tensors.along);
  std::swap(path, tensors.path);
  if (path.defined()) before = weight.clone();
  update(parameter, tensors);
  const at::Tensor& root = tensors.weight;
  weight.copy_(root * root.abs().pow(power_ - 1));
  if (path.defined()) path.add_(along * (before - weight));
}

UpdateTensors Optimizer::tensors_of(Parameter& parameter, const at::Tensor& updates,
                                    const Terms& terms) const {
  at::Tensor& gradient = parameter.value.mutable_grad();
  if (!gradient.is_contiguous()) gradient = gradient.contiguous();
  UpdateTensors own{parameter.flat(), gradient, {}, updates, parameter.segments()};
  const auto asked = terms.find(&parameter);
  if (asked != terms.end()) {
    own.may_change = asked->second.may_change;
    own.along = asked->second.along;
    own.path = asked->second.path;
  }
  if (is_raised(parameter)) {
    own.weight = parameter.slot("root");
    own.gradient = gradient.reshape({-1}) * (own.weight.abs().pow(power_ - 1) * power_);
  }
  if (parameter.connections == nullptr) return own;
  own.active = parameter.connections->active_flags();
  const at::Tensor superset = parameter.connections->superset_flags();
  if (superset_gradient_) own.gradient_set = superset;
  if (superset_update_) own.update_set = superset;
  return own;
}

void Optimizer::prepare_slots(Parameter& parameter) {
  prepare(parameter);
  if (!is_raised(parameter)) return;
  const at::NoGradGuard no_grad;
  const at::Tensor root = parameter.slot("root"), weight = parameter.flat();
  parameter.slots.at("root").lasting = true;  // it is the weight itself
  root.copy_(weight.sign() * weight.abs().pow(1 / power_));
  weight.copy_(root * root.abs().pow(power_ - 1));  // from here on w follows from v
}

}  // namespace tandem
