#include "train/optimizer.h"

#include <cmath>

#include "data/tensor.h"
#include "topology/connections.h"

namespace tandem {

Registry<OptimizerFactory>& optimizers() {
  static Registry<OptimizerFactory> registry;
  return registry;
}

Optimizer::Optimizer(const std::vector<Config>& configs) {
  for (const Config& each : configs) {
    numbers_.push_back({each.real("clip"), each.real("momentum"), each.real("weight_decay")});
  }
}

namespace {

const std::uint8_t* flags_of(const at::Tensor& active) {
  return active.defined() ? active.data_ptr<std::uint8_t>() : nullptr;
}

double squares_of(const Parameter& parameter, const std::uint8_t* set, std::int64_t r,
                  std::int64_t n) {
  const at::Tensor gradient = parameter.value.grad();
  const std::int64_t offset = r * n;
  const std::uint8_t* own = set ? set + offset : nullptr;
  if (gradient.scalar_type() == torch::kFloat32) {
    return kernels::sum_squares(gradient.data_ptr<float>() + offset, own, n);
  }
  return kernels::sum_squares(gradient.data_ptr<double>() + offset, own, n);
}

}  // namespace

double Optimizer::norm_of(const std::vector<Parameter*>& parameters,
                          const std::vector<at::Tensor>& active, const ReplicaStep& replica,
                          std::int64_t r) const {
  double sum = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i]->value.grad().defined()) continue;
    const std::int64_t n = parameters[i]->value.numel() / parameters[i]->replicas();
    sum += squares_of(*parameters[i], replica.mask_gradient ? flags_of(active[i]) : nullptr, r, n);
  }
  return std::sqrt(sum);
}

std::vector<double> Optimizer::step(const std::vector<Parameter*>& parameters,
                                    const std::vector<ReplicaStep>& replicas) {
  std::vector<at::Tensor> active(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i]->connections) active[i] = parameters[i]->connections->active_flags();
    at::Tensor& gradient = parameters[i]->value.mutable_grad();
    if (gradient.defined() && !gradient.is_contiguous()) gradient = gradient.contiguous();
  }
  std::vector<double> norms(replicas.size(), 0);
  for (std::size_t r = 0; r < replicas.size(); ++r) {
    if (replicas[r].apply && numbers_[r].clip > 0) {
      norms[r] = norm_of(parameters, active, replicas[r], static_cast<std::int64_t>(r));
    }
  }
  std::vector<kernels::ReplicaUpdate> updates(replicas.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Parameter& parameter = *parameters[i];
    if (!parameter.value.grad().defined()) continue;
    const bool connected = parameter.connections != nullptr;
    for (std::size_t r = 0; r < replicas.size(); ++r) {
      const Numbers& numbers = numbers_[r];
      kernels::ReplicaUpdate& update = updates[r];
      update.apply = replicas[r].apply && std::isfinite(norms[r]);
      update.lr = replicas[r].lr;
      update.momentum = numbers.momentum;
      update.weight_decay = parameter.decays ? numbers.weight_decay : 0;
      update.scale = numbers.clip > 0 && norms[r] > numbers.clip ? numbers.clip / norms[r] : 1;
      update.step = replicas[r].count + 1;
      update.keep_dormant = connected ? replicas[r].keep_dormant : 1;
      update.mask_gradient = connected && replicas[r].mask_gradient;
      update.mask_update = connected && replicas[r].mask_update;
    }
    const std::uint8_t* flags = flags_of(active[i]);
    this->update(parameter, {flags, flags, flags}, updates);
  }
  return norms;
}

}  // namespace tandem
