#include "continual/isolation.h"

#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/segments.h"

namespace tandem {

IsolatedWeights::IsolatedWeights(StrategyView view)
    : Strategy(std::move(view)),
      name_(view_.configs.front().text("strategy")),
      trained_(torch::zeros({view_.replicas}, view_.options)),
      host_(static_cast<std::size_t>(view_.replicas), 0) {}

void IsolatedWeights::before_task(std::int64_t task, bool resumed) {
  task_ = task;
  for (Parameter* parameter : view_.parameters) {
    if (resumed) {
      owners(*parameter);
    } else {
      owners(*parameter).clamp_min_(0);
    }
  }
  for (std::int64_t r = 0; !resumed && r < view_.replicas; ++r) train(r, 0);
}

at::Tensor IsolatedWeights::owners(Parameter& parameter) const {
  const std::string slot_name = name_ + ".owner";
  const at::Tensor values = parameter.slot(slot_name);
  Slot& slot = parameter.slots.at(slot_name);
  slot.lasting = slot.holds = true;
  return values;
}

at::Tensor IsolatedWeights::owners(Parameter& parameter, std::int64_t r) const {
  return parameter.segment(owners(parameter), r);
}

void IsolatedWeights::train(std::int64_t r, std::int64_t owner) {
  const at::NoGradGuard no_grad;
  host_[static_cast<std::size_t>(r)] = owner;
  trained_[r].fill_(owner);
}

at::Tensor IsolatedWeights::gradient(StepGradients& gradients) {
  std::vector<at::Tensor> own = gradients.masked();
  before_.clear();
  for (std::size_t p = 0; p < own.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    before_.push_back(parameter.flat().clone());
    if (!own[p].defined()) continue;
    const at::Tensor changes =
        owners(parameter).eq(broadcast_to_segments(trained_, parameter.segments()));
    own[p] = torch::where(changes, own[p], torch::zeros({}, own[p].options()));
  }
  gradients.replace(own);
  return {};
}

void IsolatedWeights::after_update() {
  const at::NoGradGuard no_grad;
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    const at::Tensor changes =
        owners(parameter).eq(broadcast_to_segments(trained_, parameter.segments()));
    parameter.flat().copy_(torch::where(changes, parameter.flat(), before_[p]));
  }
  before_.clear();
}

bool IsolatedWeights::has_own_outputs(const StrategyLayer& layer) const {
  const auto& outputs = view_.sequences.front().task_outputs;
  return layer.makes_logits && outputs.size() > 1 && outputs[0] != outputs[1];
}

at::Tensor IsolatedWeights::outputs_of(std::int64_t outputs, std::int64_t task) const {
  const at::Tensor own = torch::zeros({outputs}, view_.options.dtype(torch::kBool));
  const auto [first, last] =
      view_.sequences.front().task_outputs[static_cast<std::size_t>(task - 1)];
  own.narrow(0, first, last - first).fill_(true);
  return own;
}

at::Tensor IsolatedWeights::free_weights(const StrategyLayer& layer, std::int64_t r,
                                         std::int64_t task) const {
  Parameter& weight = *view_.parameters[layer.weight];
  const at::Tensor own = owners(weight, r).eq(0);
  if (!has_own_outputs(layer)) return own;
  const at::Tensor of_task = outputs_of(layer.outputs, task);
  if (weight.connections == nullptr || weight.connections->is_dense()) {
    return own.view({layer.inputs, layer.outputs}).logical_and(of_task).view({-1});
  }
  // What is stored where all of it is active: else a superset is, which no strategy meets here.
  const std::vector<std::int64_t> stored = weight.connections->active_set(r).positions();
  TORCH_INTERNAL_ASSERT(static_cast<std::int64_t>(stored.size()) == own.numel(), weight.name,
                        " stores dormant weights");
  const at::Tensor output =
      torch::tensor(stored, torch::kInt64).remainder(layer.outputs).to(of_task.device());
  return own.logical_and(of_task.index_select(0, output));
}

at::Tensor IsolatedWeights::active(const StrategyLayer& layer, std::int64_t r) const {
  const Parameter& weight = *view_.parameters[layer.weight];
  const at::Tensor flags =
      weight.connections == nullptr ? at::Tensor() : weight.connections->active_flags();
  return flags.defined() ? weight.segment(flags, r).ne(0)
                         : torch::ones_like(weight.segment(weight.flat(), r), torch::kBool);
}

void IsolatedWeights::rest(std::int64_t r) const {
  for (const StrategyLayer& layer : view_.layers) {
    const at::Tensor owner = owners(*view_.parameters[layer.weight], r);
    owner.masked_fill_(owner.eq(0).logical_and(active(layer, r)), -1);
  }
}

void IsolatedWeights::begin_anew(Parameter& parameter, std::int64_t r, const at::Tensor& which) {
  parameter.segment(parameter.flat(), r).masked_fill_(which, 0);
  for (auto& [slot_name, slot] : parameter.slots) {
    if (slot.everywhere || slot.lasting) continue;
    parameter.segment(slot.values, r).masked_fill_(which, slot.newborn);
  }
}

NamedTensors IsolatedWeights::save(std::int64_t r) const {
  return {{name_ + ".trained", integers_tensor({trained(r)})}};
}

void IsolatedWeights::load(std::int64_t r, const std::string& name, const at::Tensor& values) {
  if (name != name_ + ".trained" || values.numel() != 1) {
    refuse_state(name_, name, values, name_ + ".trained with one");
  }
  train(r, integers_in(values).front());
}

}  // namespace tandem
