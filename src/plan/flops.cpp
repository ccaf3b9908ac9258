#include "plan/flops.h"

#include <algorithm>

#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/nested_masks.h"

namespace tandem {
namespace {

// [masks][L] that the sparse stream uses: the mask's own, and those of the nested masks.
std::vector<std::vector<std::int64_t>> sparse_counts(const std::vector<Linear*>& linears,
                                                     const Policies& weights,
                                                     std::int64_t replica) {
  std::vector<LayerShape> shapes;
  std::vector<std::int64_t> active;
  for (const Linear* layer : linears) {
    const bool exempt = layer->connections == nullptr;
    shapes.push_back({layer->name(), layer->inputs(), layer->outputs(), exempt});
    active.push_back(exempt ? shapes.back().positions() : layer->connections->active(replica));
  }
  return nested_counts(shapes, weights.start, weights.sets.nested, active);
}

// Returns the size of a layer's superset, [R], in one look at the device; it is everything where
// there is no superset.
std::vector<double> superset_counts(const Linear& layer, std::size_t replicas) {
  const at::Tensor flags =
      layer.connections == nullptr ? at::Tensor() : layer.connections->superset_flags();
  const std::int64_t n = layer.inputs() * layer.outputs();
  std::vector<double> counts(replicas, static_cast<double>(n));
  if (!flags.defined()) return counts;
  if (!layer.connections->is_dense()) {  // what is stored
    const auto segments = layer.connections->segments();
    for (std::size_t r = 0; r < replicas; ++r) {
      counts[r] = static_cast<double>(segments[r + 1] - segments[r]);
    }
    return counts;
  }
  const at::Tensor sums = flags.view({-1, n}).sum(1).to(torch::kCPU, torch::kFloat64);
  std::copy_n(sums.contiguous().data_ptr<double>(), replicas, counts.begin());
  return counts;
}

}  // namespace

FlopsLedger::FlopsLedger(Model& model, const std::vector<RunSchedule>& runs, double rows)
    : model_(model),
      runs_(runs),
      rows_(rows),
      forward_(runs.size()),
      charged_(runs.size()),
      training_(runs.size(), 0) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto blocks = static_cast<double>(runs[r].config.integer("blocks"));
    forward_[r].levels.attention = {model.attention_flops(true, blocks),
                                    model.attention_flops(false, blocks)};
    forward_[r].attention_layers = model.sites(Level::kAttention);
  }
  record_masks();
}

void FlopsLedger::record_masks() {
  const std::vector<Linear*> linears = model_.linears();
  std::vector<std::vector<double>> supersets;  // [L][R]
  for (const Linear* layer : linears) {
    supersets.push_back(superset_counts(*layer, runs_.size()));
  }
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const Policies& weights = runs_[r].policies.weights;
    const auto replica = static_cast<std::int64_t>(r);
    double full = model_.dense_products(), superset = full;
    std::size_t l = 0;
    for (const Linear* layer : linears) {
      full += static_cast<double>(layer->inputs() * layer->outputs());
      superset += supersets[l++][r];
    }
    ForwardFlops& own = forward_[r];
    own.levels.weights.full = 2 * rows_ * full;
    own.superset = 2 * rows_ * superset;
    own.nested.clear();
    for (const auto& counts : sparse_counts(linears, weights, replica)) {
      double sum = model_.dense_products();
      for (const std::int64_t count : counts) sum += static_cast<double>(count);
      own.nested.push_back(2 * rows_ * sum);
    }
    own.levels.weights.sparse = own.nested.front();
    if (weights.sets.nested.empty()) own.nested.clear();
    if (weights.schedule.draws_per_layer()) record_layers(linears, supersets, replica);
  }
}

void FlopsLedger::record_layers(const std::vector<Linear*>& linears,
                                const std::vector<std::vector<double>>& supersets, std::int64_t r) {
  const auto run = static_cast<std::size_t>(r);
  std::vector<ForwardFlops::Layer>& layers = forward_[run].layers;
  layers.clear();
  for (const auto& counts : sparse_counts(linears, runs_[run].policies.weights, r)) {
    for (std::size_t l = 0; l < linears.size(); ++l) {
      const double dense = static_cast<double>(linears[l]->inputs() * linears[l]->outputs());
      layers.push_back({2 * rows_ * dense, 2 * rows_ * static_cast<double>(counts[l]),
                        2 * rows_ * supersets[l][run]});
    }
  }
}

double FlopsLedger::forward(std::int64_t r, bool attention_full, bool weights_full) const {
  const ForwardFlops& own = forward_[static_cast<std::size_t>(r)];
  const auto of = [](const ForwardFlops::Streams& streams, bool full) {
    return full ? streams.full : streams.sparse;
  };
  return of(own.levels.weights, weights_full) + of(own.levels.attention, attention_full);
}

double FlopsLedger::trained_forward(std::int64_t r) const {
  const PerLevel<Policies>& policies = runs_[static_cast<std::size_t>(r)].policies;
  const bool full = policies.weights.has_full_stream();
  const ForwardFlops& own = forward_[static_cast<std::size_t>(r)];
  const double all = forward(r, policies.attention.has_full_stream(), full);
  const bool within = full && policies.weights.sets.full_in_superset;
  return within ? all - own.levels.weights.full + own.superset : all;
}

void FlopsLedger::charge(const std::vector<ReplicaPlan>& plans, const std::vector<double>& examples,
                         const std::vector<double>& passed) {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const ReplicaPlan& plan = plans[i];
    if (!plan.runs) continue;
    const PerLevel<Demands>& demands = runs_[i].demands;
    double charge = step_flops(demands, plan, forward_[i]) * examples[i];
    const double fresh = fresh_flops(demands, plan, forward_[i]);
    if (!passed.empty()) charge += trained_forward(static_cast<std::int64_t>(i)) * passed[i];
    if (fresh > 0) charge += fresh * static_cast<double>(runs_[i].config.integer("batch"));
    charged_[i].push_back(charge);
  }
}

void FlopsLedger::charge_steps(std::int64_t r, std::int64_t taken) {
  std::vector<double>& own = charged_[static_cast<std::size_t>(r)];
  const auto count = std::min(static_cast<std::size_t>(taken), own.size());
  double& sum = training_[static_cast<std::size_t>(r)];
  for (std::size_t i = 0; i < count; ++i) sum += own[i];
  own.clear();
}

}  // namespace tandem
