// Connections of a trainer: initial masks and scales, updates, and a replica's state.
#include <algorithm>
#include <cmath>

#include "config/seeds.h"
#include "core/error.h"
#include "data/tensor.h"
#include "topology/initial_mask.h"
#include "topology/masked_connections.h"
#include "train/trainer.h"

namespace tandem {

void Trainer::start_topology() {
  std::vector<Start> starts;
  std::vector<TopologyRule> rules;
  std::vector<std::uint64_t> keys;
  for (const RunSchedule& run : runs_) {
    starts.push_back(run.weights.start);
    rules.push_back(run.weights.topology);
    keys.push_back(run_key(run.config, "topology"));
  }
  const std::vector<std::string>& exempt = starts.front().exempt;
  std::vector<Linear*> linears = model_->linears();
  for (const Linear* layer : linears) {
    const bool is_exempt = std::count(exempt.begin(), exempt.end(), layer->name()) != 0;
    layers_.push_back({layer->name(), layer->inputs(), layer->outputs(), is_exempt});
  }
  for (const std::string& name : exempt) {
    const bool known = std::any_of(layers_.begin(), layers_.end(),
                                   [&](const LayerShape& layer) { return layer.name == name; });
    if (!known) {
      std::string all;
      for (const LayerShape& layer : layers_) all += " " + layer.name;
      throw ConfigError("--exempt names '" + name + "', which is no layer; the layers are:" + all);
    }
  }
  for (Parameter* parameter : model_->parameters()) {
    if (parameter->value.device() != options_.device) {
      parameter->value = parameter->value.detach().to(options_.device).requires_grad_(true);
    }
  }
  std::vector<at::Tensor> weights;
  for (const Linear* layer : linears) weights.push_back(layer->weight.value.detach());
  const auto masks = initial_masks(starts, layers_, weights, keys);
  std::vector<Connections*> connections;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (layers_[l].exempt) {
      connections.push_back(nullptr);
      continue;
    }
    auto masked = std::make_unique<MaskedConnections>(linears[l]->weight, masks[l]);
    masked->set_zero_dormant(!runs_.front().weights.dormant_carry_values());
    linears[l]->connections = std::move(masked);
    connections.push_back(linears[l]->connections.get());
    scale_initial_weights(*linears[l]);
  }
  topology_ = std::make_unique<TopologyUpdater>(connections, layers_, rules, starts, keys);
  for (Parameter* parameter : model_->parameters()) optimizer_->prepare(*parameter);
  note_masks();
}

// Initial scale of a sparse net: of the dense fan-in as drawn, of each unit's own fan-in, or of the
// layer's density (Evci et al. 2022; weights x sqrt(fan_in / active fan_in), x 1/sqrt(density)).
void Trainer::scale_initial_weights(Linear& layer) {
  at::NoGradGuard no_grad;
  const at::Tensor flags = layer.connections->active_flags();
  if (!flags.defined()) return;
  const at::Tensor mask = flags.view_as(layer.weight.value).to(options_.dtype);  // [R,in,out]
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const Start& start = run(r).weights.start;
    if (start.init_scale == Start::InitScale::kDense) continue;
    const at::Tensor own = mask[r];
    const at::Tensor share =
        start.init_scale == Start::InitScale::kFanIn
            ? own.mean(0, true).clamp_min(1.0 / static_cast<double>(own.size(0)))
            : own.mean();
    layer.weight.value[r].div_(share.sqrt());
  }
}

// Updates of the replicas that are due after the step just taken, or in its place.
void Trainer::update_topology(const std::vector<ReplicaPlan>& plans, StepReport& report) {
  if (std::none_of(plans.begin(), plans.end(), [](const auto& plan) { return plan.updates(); })) {
    return;  // before anything waits for the device
  }
  UpdateMoment moment;
  bool any = false;
  for (std::size_t r = 0; r < plans.size(); ++r) {
    const ReplicaPlan& plan = plans[r];
    const bool due = plan.updates() && !diverged(static_cast<std::int64_t>(r));
    moment.due.push_back(due);
    moment.progress.push_back(plan.topology_progress);
    moment.number.push_back(plan.step + 1);
    any = any || due;
    if (due) report.updated[r] = 1;
  }
  if (!any) return;
  at::NoGradGuard no_grad;
  const bool zero_dormant = !runs_.front().weights.dormant_carry_values();
  report.updates = topology_->update(moment, zero_dormant);
  note_masks();
}

namespace {

at::Tensor replica_of(const at::Tensor& flat, std::int64_t r, std::int64_t replicas) {
  return flat.view({replicas, -1})[r];
}

at::Tensor host_copy(const at::Tensor& values) {
  return values.detach().to(torch::kCPU).clone(at::MemoryFormat::Contiguous);
}

at::Tensor of_integers(const std::vector<std::int64_t>& values) {
  return torch::tensor(values, torch::kInt64);
}

std::vector<std::int64_t> integers_of(const at::Tensor& values) {
  const auto* begin = values.data_ptr<std::int64_t>();
  return {begin, begin + values.numel()};
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> Trainer::save(std::int64_t r) const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (Parameter* parameter : model_->parameters()) {
    all.emplace_back("parameter/" + parameter->name, host_copy(parameter->value[r]));
    for (const auto& [name, slot] : parameter->slots) {
      all.emplace_back("slot/" + parameter->name + "/" + name,
                       host_copy(replica_of(slot.values, r, replicas())));
    }
    if (parameter->connections == nullptr || !parameter->connections->active_flags().defined()) {
      continue;
    }
    const auto bits = parameter->connections->packed_mask(r);
    all.emplace_back("mask/" + parameter->name,
                     torch::from_blob(const_cast<std::uint8_t*>(bits.data()),
                                      {static_cast<std::int64_t>(bits.size())}, torch::kUInt8)
                         .clone());
  }
  for (const auto& [name, values] : strategy_->save(r)) {
    all.emplace_back("strategy/" + name, of_integers(values));
  }
  kernels::ReplicaState own = state(r);
  all.emplace_back("state",
                   torch::from_blob(&own, {kernels::kReplicaState}, torch::kFloat64).clone());
  return all;
}

void Trainer::load(std::int64_t r, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  for (Parameter* parameter : model_->parameters()) {
    // The mask first: setting it may clear what lies outside, the values then come as they were.
    const auto mask = by_name.find("mask/" + parameter->name);
    if (mask != by_name.end()) {
      const auto* begin = mask->second.data_ptr<std::uint8_t>();
      parameter->connections->set_packed_mask(r, {begin, begin + mask->second.numel()});
    }
    parameter->value[r].copy_(by_name.at("parameter/" + parameter->name));
    const std::string prefix = "slot/" + parameter->name + "/";
    for (const auto& [name, values] : by_name) {
      if (name.rfind(prefix, 0) != 0) continue;
      const at::Tensor slot = parameter->slot(name.substr(prefix.size()));
      replica_of(slot, r, replicas()).copy_(values);
    }
  }
  for (const auto& [name, values] : by_name) {
    if (name.rfind("strategy/", 0) == 0) strategy_->load(r, name.substr(9), integers_of(values));
  }
  state(r);  // so that the others' are fresh
  const at::Tensor& stored = by_name.at("state");
  TORCH_INTERNAL_ASSERT(stored.numel() == kernels::kReplicaState, "a state of ", stored.sizes());
  host_state_[static_cast<std::size_t>(r)] =
      *reinterpret_cast<const kernels::ReplicaState*>(stored.data_ptr<double>());
  write_state();
  note_masks();
}

}  // namespace tandem
