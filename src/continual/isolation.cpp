#include "continual/isolation.h"

#include <cmath>

#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/segments.h"

namespace tandem {

LayerPlaces::LayerPlaces(const Parameter& weight, const StrategyLayer& layer, std::int64_t replicas)
    : weight_(weight), replicas_(replicas), inputs_(layer.inputs), outputs_(layer.outputs) {
  if (weight.connections != nullptr) stored_ = weight.connections->stored_positions();
}

// Sparse layers are on a CPU.
at::Tensor LayerPlaces::replica() const {
  return broadcast_to_segments(torch::arange(replicas_, torch::kInt64), weight_.segments());
}

at::Tensor LayerPlaces::of_inputs(const at::Tensor& per_input) const {
  if (!stored_.defined()) {
    return per_input.unsqueeze(2).expand({replicas_, inputs_, outputs_}).reshape({-1});
  }
  const at::Tensor input = stored_.div(outputs_, "floor");
  return per_input.reshape({-1}).index_select(0, replica() * inputs_ + input);
}

at::Tensor LayerPlaces::of_outputs(const at::Tensor& per_output) const {
  if (!stored_.defined()) {
    return per_output.unsqueeze(1).expand({replicas_, inputs_, outputs_}).reshape({-1});
  }
  const at::Tensor output = stored_.remainder(outputs_);
  return per_output.reshape({-1}).index_select(0, replica() * outputs_ + output);
}

at::Tensor LayerPlaces::of_positions(const at::Tensor& per_position) const {
  const at::Tensor all = per_position.reshape({-1});
  if (!stored_.defined()) return all;
  return all.index_select(0, replica() * (inputs_ * outputs_) + stored_);
}

at::Tensor LayerPlaces::sum_to_inputs(const at::Tensor& values) const {
  return to_positions(values).view({replicas_, inputs_, outputs_}).sum(2);
}

at::Tensor LayerPlaces::to_positions(const at::Tensor& values) const {
  if (!stored_.defined()) return values.view({replicas_, -1});
  const at::Tensor all = torch::zeros({replicas_ * inputs_ * outputs_}, values.options());
  return all.index_copy_(0, replica() * (inputs_ * outputs_) + stored_, values)
      .view({replicas_, -1});
}

IsolatedWeights::IsolatedWeights(StrategyView view)
    : Strategy(std::move(view)),
      name_(view_.configs.front().text("strategy")),
      trained_(torch::zeros({view_.replicas}, view_.options)),
      host_(static_cast<std::size_t>(view_.replicas), 0) {}

void IsolatedWeights::before_task(std::int64_t task, bool resumed) {
  task_ = task;
  outputs_.reset();
  for (Parameter* parameter : view_.parameters) {
    const at::Tensor owner = owners(*parameter);
    if (resumed) continue;
    // Weights that rested begin as young as any: the optimizer counted their steps on.
    const at::Tensor rested = owner.lt(0);
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      begin_anew(*parameter, r, parameter->segment(rested, r));
    }
    owner.clamp_min_(0);
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

at::Tensor IsolatedWeights::outputs(const StepView& view) {
  const TaskSequence& sequence = view_.sequences.front();
  if (sequence.trained == OutputsOf::kTask || !sequence.masked_readout) return {};
  if (!outputs_.defined()) {
    outputs_ = outputs_of(view.logits.size(-1), task_).expand(view.logits.sizes()).contiguous();
  }
  return outputs_;
}

at::Tensor IsolatedWeights::changing(std::size_t p) const {
  Parameter& parameter = *view_.parameters[p];
  const at::Tensor owner = owners(parameter), no = barred(p);
  const at::Tensor own = owner.is_cuda()  // its segments are of one length
                             ? owner.view({view_.replicas, -1}).eq(trained_.unsqueeze(1)).view({-1})
                             : owner.eq(broadcast_to_segments(trained_, parameter.segments()));
  return no.defined() ? own.logical_and(no.logical_and(owner.eq(0)).logical_not()) : own;
}

// Which of a parameter's values change, as long as no owner changes and the same owner trains.
const IsolatedWeights::Resting& IsolatedWeights::resting(std::size_t p) {
  const at::Tensor owner = owners(*view_.parameters[p]);
  resting_.resize(view_.parameters.size());
  Resting& own = resting_[p];
  if (own.owner.is_same(owner) && own.version == owner._version() && own.trained == host_) {
    return own;
  }
  own = {owner, owner._version(), host_, {}};
  const at::Tensor change = changing(p);
  if (!change.all().item<bool>()) own.changing = change.view(torch::kByte);
  return own;
}

at::Tensor IsolatedWeights::gradient(StepGradients& gradients) {
  leave(gradients);
  return {};
}

// On a GPU the step is captured, and may depend on nothing that the host has kept.
void IsolatedWeights::leave(StepGradients& gradients) {
  before_.assign(view_.parameters.size(), {});
  shares_.assign(view_.parameters.size(), {});
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    shares_[p] = share_of(p);
    if (shares_[p].defined()) {
      before_[p] = parameter.flat().clone();
      continue;
    }
    const at::Tensor which =
        parameter.value.is_cuda() ? changing(p).view(torch::kByte) : resting(p).changing;
    if (which.defined()) gradients.change_only(p, which);
  }
}

void IsolatedWeights::after_update() {
  const at::NoGradGuard no_grad;
  for (std::size_t p = 0; p < shares_.size(); ++p) {
    if (!shares_[p].defined()) continue;
    at::Tensor now = view_.parameters[p]->flat();
    now.copy_(before_[p] + shares_[p] * (now - before_[p]));
  }
  before_.clear();
  shares_.clear();
}

bool IsolatedWeights::has_own_outputs(const StrategyLayer& layer) const {
  const TaskSequence& sequence = view_.sequences.front();
  return layer.makes_logits && sequence.task_outputs.size() > 1 && !sequence.shares_outputs();
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
  const at::Tensor of_task =
      outputs_of(layer.outputs, task).expand({view_.replicas, layer.outputs});
  return own.logical_and(weight.segment(places(layer).of_outputs(of_task), r));
}

at::Tensor IsolatedWeights::active(const StrategyLayer& layer, std::int64_t r) const {
  const Parameter& weight = *view_.parameters[layer.weight];
  const at::Tensor flags =
      weight.connections == nullptr ? at::Tensor() : weight.connections->active_flags();
  return flags.defined() ? weight.segment(flags, r).ne(0)
                         : torch::ones_like(weight.segment(weight.flat(), r), torch::kBool);
}

void IsolatedWeights::own_the_rest(std::int64_t r) const {
  const auto number = static_cast<double>(task_);
  std::vector<char> of_layers(view_.parameters.size(), 0);
  for (const StrategyLayer& layer : view_.layers) {
    of_layers[layer.weight] = 1;
    if (!has_own_outputs(layer)) continue;
    Parameter& weight = *view_.parameters[layer.weight];
    const at::Tensor free = free_weights(layer, r, task_), own = free.logical_and(active(layer, r));
    begin_anew(weight, r, free.logical_and(own.logical_not()));
    owners(weight, r).masked_fill_(own, number);
    if (layer.bias < 0) continue;
    of_layers[static_cast<std::size_t>(layer.bias)] = 1;
    Parameter& bias = *view_.parameters[static_cast<std::size_t>(layer.bias)];
    owners(bias, r).masked_fill_(outputs_of(layer.outputs, task_), number);
  }
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    if (of_layers[p]) continue;
    const at::Tensor owner = owners(*view_.parameters[p], r);
    owner.masked_fill_(owner.eq(0), number);
  }
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

std::int64_t SettledWeights::turn_at(std::int64_t r, std::int64_t steps) const {
  const double share = view_.configs[static_cast<std::size_t>(r)].real("retrain_share");
  const auto again = static_cast<std::int64_t>(std::floor(share * static_cast<double>(steps)));
  return steps - again;
}

void SettledWeights::turn(const std::vector<char>& due) {
  const at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < view_.replicas; ++r) {
    if (due[static_cast<std::size_t>(r)]) settle(r);
  }
}

void SettledWeights::after_task(std::int64_t /*task*/,
                                const std::vector<std::vector<std::int64_t>>& /*examples*/) {
  const at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < view_.replicas; ++r) {
    if (trained(r) != task()) settle(r);
  }
}

}  // namespace tandem
