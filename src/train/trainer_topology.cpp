// Connections of a trainer: initial masks and scales, updates, and a replica's state.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "config/seeds.h"
#include "data/tensor.h"
#include "topology/digest.h"
#include "topology/storage.h"
#include "train/trainer.h"

namespace tandem {

namespace {

// Returns the shapes of a model's linear layers.
std::vector<LayerShape> shapes_of(const std::vector<Linear*>& linears,
                                  const std::vector<std::string>& exempt) {
  std::vector<LayerShape> shapes;
  for (const Linear* layer : linears) {
    const bool is_exempt = std::count(exempt.begin(), exempt.end(), layer->name()) != 0;
    shapes.push_back({layer->name(), layer->inputs(), layer->outputs(), is_exempt});
  }
  return shapes;
}

void move_to(at::Device device, const std::vector<Parameter*>& parameters) {
  for (Parameter* parameter : parameters) {
    if (!parameter->value.defined() || parameter->value.device() == device) continue;
    parameter->value = parameter->value.detach().to(device).requires_grad_(true);
  }
}

// What a policy says of each run [R].
template <class Get>
auto of_each(const std::vector<RunSchedule>& runs, const Get& get) {
  std::vector<std::decay_t<decltype(get(runs.front()))>> values;
  for (const RunSchedule& run : runs) values.push_back(get(run));
  return values;
}

}  // namespace

void Trainer::start_topology() {
  const auto starts =
      of_each(runs_, [](const RunSchedule& run) { return run.policies.weights.start; });
  const auto keys =
      of_each(runs_, [](const RunSchedule& run) { return run_key(run.config, "topology"); });
  layers_ = shapes_of(model_->linears(), starts.front().exempt);
  move_to(options_.device, parameters());
  for (Buffer* buffer : buffers()) buffer->value = buffer->value.to(options_.device);
  topology_ = std::make_unique<TopologyUpdater>(
      start_layers(starts, keys), layers_,
      of_each(runs_, [](const RunSchedule& run) { return run.policies.weights.topology; }), starts,
      keys);
  const Policies& weights = policies();
  const Sets& sets = weights.sets;
  if (sets.superset > 0) {
    topology_->keep_superset(
        of_each(runs_, [](const RunSchedule& run) { return run.policies.weights.sets.superset; }),
        sets.superset_random, sets.outside_zero);
  }
  if (!sets.nested.empty()) {
    topology_->keep_nested(
        of_each(runs_, [](const RunSchedule& run) { return run.policies.weights.sets.nested; }));
  }
  optimizer_->use_supersets(sets.gradient == Support::kSuperset, sets.update == Support::kSuperset);
  optimizer_->raise(weights.power);
  for (Parameter* parameter : parameters()) optimizer_->prepare_slots(*parameter);
  record_masks();
}

// Weights and connections of all layers; null for a layer that is exempt, whose weights are dense.
std::vector<Connections*> Trainer::start_layers(const std::vector<Start>& starts,
                                                const std::vector<std::uint64_t>& keys) {
  const std::vector<Linear*> linears = model_->linears();
  const std::vector<Storage> storages = storages_of_layers();
  std::vector<LayerStart> layer_start = layer_starts(starts, layers_, keys);
  std::vector<Connections*> connections;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    Linear& layer = *linears[l];
    if (layers_[l].exempt) {
      layer.weight.value = draw_dense(layer.initial_weights, options_.dtype)
                               .to(options_.device)
                               .requires_grad_(true);
      connections.push_back(nullptr);
      continue;
    }
    for (std::int64_t r = 0; r < replicas(); ++r) {
      const auto given = initial_net(r);
      const bool own =
          given && given->gives_masks(starts[static_cast<std::size_t>(r)], run(r).config);
      layer_start[l].masks.push_back(own ? given->mask(layer.weight.name, layers_[l])
                                         : std::vector<std::int64_t>());
    }
    layer_start[l].storage = storages[l];
    layer_start[l].zero_dormant = policies().dormant_stay_zero();
    layer_start[l].device = options_.device;
    layer_start[l].dtype = options_.dtype;
    layer.connections = start_connections(layer.weight, layer.initial_weights, layer_start[l]);
    for (std::int64_t r = 0; r < replicas(); ++r) {
      layer.connections->scale(r, run(r).policies.weights.start.init_scale);
    }
    connections.push_back(layer.connections.get());
  }
  return connections;
}

// What the options say, or else the config; auto is resolved where runs are planned.
std::vector<Storage> Trainer::storages_of_layers() const {
  if (!options_.storage.empty()) {
    TORCH_INTERNAL_ASSERT(options_.storage.size() == layers_.size(), options_.storage.size(),
                          " storages for ", layers_.size(), " layers");
    return options_.storage;
  }
  const std::string& said = runs_.front().config.text("storage");
  const Storage storage = said == "auto" ? Storage::kMasked : storage_of_name(said);
  return std::vector<Storage>(layers_.size(), storage);
}

namespace {

std::vector<std::int64_t> active_counts(Model& model) {
  std::vector<std::int64_t> counts;
  for (const Linear* layer : model.linears()) {
    if (layer->connections == nullptr) continue;
    for (std::int64_t r = 0; r < layer->connections->replicas(); ++r) {
      counts.push_back(layer->connections->active(r));
    }
  }
  return counts;
}

}  // namespace

// Updates of the replicas that are due after the step just taken, or in its place. Whether one of
// them has diverged in the meantime is asked, which waits for a GPU, only where an update is logged
// or where it matters; what the host knows already counts in any case (plan_step).
void Trainer::update_topology(const std::vector<ReplicaPlan>& plans, StepReport& report) {
  if (!any_updates(plans)) return;
  const bool any_logged = std::any_of(plans.begin(), plans.end(), [](const ReplicaPlan& plan) {
    return plan.updates() && plan.logged;
  });
  const bool asks = fresh_ || any_logged || !demands().keeps_counts;
  UpdateMoment moment;
  std::vector<char> enters_sparse, enters_full;
  bool any = false;
  for (std::size_t r = 0; r < plans.size(); ++r) {
    const ReplicaPlan& plan = plans[r];
    const bool reached = plan.updates() && !(asks && diverged(static_cast<std::int64_t>(r)));
    const bool due = reached && !plan.enters_full;
    enters_sparse.push_back(reached && plan.enters_sparse);
    enters_full.push_back(reached && plan.enters_full);
    moment.due.push_back(due);
    moment.progress.push_back(plan.topology_progress);
    moment.number.push_back(plan.step + 1);
    any = any || due;
    moment.reported.push_back(due && plan.logged);
    report.updated[r] = moment.reported.back();
  }
  begin_full_phase(enters_full);
  if (!any) return;
  const bool reports = std::count(moment.reported.begin(), moment.reported.end(), 1) > 0;
  if (reports && before_update) before_update(moment.reported);
  const std::vector<std::int64_t> counts = active_counts(*model_);
  if (demands().fresh_batches > 0) read_fresh_batches(moment);
  at::NoGradGuard no_grad;
  report.updates = topology_->update(moment, policies().dormant_stay_zero());
  strategy_->topology_moved(moment.due);
  begin_sparse_phase(enters_sparse);
  // A superset is as large as its density and the mask make it, so that the host knows.
  if (active_counts(*model_) != counts) record_masks();
}

void Trainer::begin_full_phase(const std::vector<char>& enters) {
  if (!policies().schedule.empties_slots) return;
  at::NoGradGuard no_grad;
  for (Parameter* parameter : model_->parameters()) parameter->empty_slots(enters);
}

void Trainer::begin_sparse_phase(const std::vector<char>& enters) {
  if (!policies().dormant.zeroed_by_phases) return;
  for (const Linear* layer : model_->linears()) {
    if (layer->connections != nullptr) layer->connections->empty_dormant(enters);
  }
}

namespace {

at::Tensor host_copy(const at::Tensor& values) {
  return values.detach().to(torch::kCPU).clone(at::MemoryFormat::Contiguous);
}

std::string snapshot_name(std::size_t i, const std::string& part) {
  return "snapshot/" + std::to_string(i) + "/" + part;
}

}  // namespace

std::vector<std::string> Trainer::parameter_names() const {
  std::vector<std::string> names;
  for (const Parameter* parameter : parameters()) names.push_back(parameter->name);
  return names;
}

std::vector<std::vector<std::uint64_t>> Trainer::digests(const std::vector<char>& wanted) const {
  return digests_of(parameters(), wanted);
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::save(std::int64_t r) const {
  std::vector<std::pair<std::string, at::Tensor>> all = std::move(save_weights(r, 1).front());
  for (Parameter* parameter : parameters()) {
    for (const auto& [name, slot] : parameter->slots) {
      all.emplace_back("slot/" + parameter->name + "/" + name,
                       host_copy(parameter->segment(slot.values, r)));
    }
  }
  for (const auto& [name, values] : strategy_->save(r))
    all.emplace_back("strategy/" + name, values);
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (!taken_[i]) continue;
    for (Parameter* parameter : snapshots_[i]->parameters()) {
      all.emplace_back(snapshot_name(i, parameter->name), host_copy(parameter->of_replica(r)));
    }
    for (const Buffer* buffer : snapshots_[i]->buffers()) {
      all.emplace_back(snapshot_name(i, buffer->name), host_copy(buffer->of_replica(r)));
    }
  }
  kernels::ReplicaState own = state(r);
  all.emplace_back("state",
                   torch::from_blob(&own, {kernels::kReplicaState}, torch::kFloat64).clone());
  return all;
}

std::vector<Trainer::SavedState> Trainer::save_weights(std::int64_t first,
                                                       std::int64_t count) const {
  std::vector<SavedState> all(static_cast<std::size_t>(count));
  for (Parameter* parameter : parameters()) {
    const bool one_copy = parameter->value.dim() > 1;  // [R,...]; else in a sparse storage
    const at::Tensor together =
        one_copy ? host_copy(parameter->value.narrow(0, first, count)) : at::Tensor();
    for (std::int64_t i = 0; i < count; ++i) {
      SavedState& own = all[static_cast<std::size_t>(i)];
      own.emplace_back("parameter/" + parameter->name,
                       one_copy ? together[i] : host_copy(parameter->of_replica(first + i)));
      if (parameter->connections == nullptr) continue;
      const at::Tensor topology = parameter->connections->save_topology(first + i);
      if (topology.defined()) own.emplace_back("mask/" + parameter->name, topology);
    }
  }
  for (const Buffer* buffer : buffers()) {
    for (std::int64_t i = 0; i < count; ++i) {
      all[static_cast<std::size_t>(i)].emplace_back("buffer/" + buffer->name,
                                                    host_copy(buffer->of_replica(first + i)));
    }
  }
  return all;
}

void Trainer::load_networks(std::int64_t r, const std::map<std::string, at::Tensor>& by_name) {
  for (Parameter* parameter : parameters()) {
    // The topology first: it may clear and resize, the values then come as they were.
    const auto mask = by_name.find("mask/" + parameter->name);
    if (mask != by_name.end()) parameter->connections->load_topology(r, mask->second);
    parameter->of_replica(r).copy_(by_name.at("parameter/" + parameter->name));
    const std::string prefix = "slot/" + parameter->name + "/";
    for (const auto& [name, values] : by_name) {
      if (name.rfind(prefix, 0) != 0) continue;
      const at::Tensor slot = parameter->slot(name.substr(prefix.size()));
      parameter->segment(slot, r).copy_(values);
    }
  }
  for (Buffer* buffer : buffers()) {
    buffer->of_replica(r).copy_(by_name.at("buffer/" + buffer->name));
  }
}

void Trainer::restart() {
  at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    if (frozen(r) || diverged(r)) continue;
    for (Parameter* parameter : parameters()) {
      for (auto& [name, slot] : parameter->slots) {
        if (!slot.lasting) parameter->segment(slot.values, r).fill_(slot.newborn);
      }
    }
    const SavedState& own = beginning_[static_cast<std::size_t>(r)];
    load_networks(r, {own.begin(), own.end()});
  }
  record_masks();
}

void Trainer::load(std::int64_t r, const SavedState& tensors) {
  at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  load_networks(r, by_name);
  for (const auto& [name, values] : by_name) {
    if (name.rfind("strategy/", 0) == 0) strategy_->load(r, name.substr(9), values);
  }
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    for (Parameter* parameter : snapshots_[i]->parameters()) {
      const auto stored = by_name.find(snapshot_name(i, parameter->name));
      if (stored == by_name.end()) continue;
      parameter->of_replica(r).copy_(stored->second);
      taken_[i] = 1;
    }
    for (Buffer* buffer : snapshots_[i]->buffers()) {
      const auto stored = by_name.find(snapshot_name(i, buffer->name));
      if (stored != by_name.end()) buffer->of_replica(r).copy_(stored->second);
    }
  }
  state(r);  // so that the others' are fresh
  const at::Tensor& stored = by_name.at("state");
  TORCH_INTERNAL_ASSERT(stored.numel() <= kernels::kReplicaState, "a state of ", stored.sizes());
  // An earlier release's is shorter: what it has not is as at the start.
  kernels::ReplicaState& own = host_state_[static_cast<std::size_t>(r)];
  own = {};
  std::copy_n(stored.data_ptr<double>(), stored.numel(), reinterpret_cast<double*>(&own));
  write_state();
  record_masks();
}

}  // namespace tandem
