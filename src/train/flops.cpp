#include "train/flops.h"

#include <algorithm>

#include "data/tensor.h"
#include "topology/connections.h"

namespace tandem {
namespace {

double active_count(const Linear& layer, std::int64_t replica) {
  return layer.connections == nullptr ? static_cast<double>(layer.inputs() * layer.outputs())
                                      : static_cast<double>(layer.connections->active(replica));
}

// Of its superset, [R], in one look at the device; everything where there is none.
std::vector<double> superset_counts(const Linear& layer, std::size_t replicas) {
  const at::Tensor flags =
      layer.connections == nullptr ? at::Tensor() : layer.connections->superset_flags();
  const std::int64_t n = layer.inputs() * layer.outputs();
  std::vector<double> counts(replicas, static_cast<double>(n));
  if (!flags.defined()) return counts;
  const at::Tensor sums = flags.view({-1, n}).sum(1).to(torch::kCPU, torch::kFloat64);
  std::copy_n(sums.contiguous().data_ptr<double>(), replicas, counts.begin());
  return counts;
}

}  // namespace

FlopsLedger::FlopsLedger(Model& model, const std::vector<RunSchedule>& runs, double rows)
    : model_(model),
      runs_(runs),
      rows_(rows),
      reads_(dense_gradient_of(runs.front().weights.topology)),
      forward_(runs.size()),
      charged_(runs.size()),
      training_(runs.size(), 0) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto blocks = static_cast<double>(runs[r].config.integer("blocks"));
    forward_[r].attention_full = model.attention_flops(true, blocks);
    forward_[r].attention_sparse = model.attention_flops(false, blocks);
  }
  note_masks();
}

void FlopsLedger::note_masks() {
  const std::vector<Linear*> linears = model_.linears();
  std::vector<std::vector<double>> supersets;  // [L][R]
  for (const Linear* layer : linears) {
    supersets.push_back(superset_counts(*layer, runs_.size()));
  }
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    double full = model_.dense_products(), sparse = full, superset = full;
    std::size_t l = 0;
    for (const Linear* layer : linears) {
      const double dense = static_cast<double>(layer->inputs() * layer->outputs());
      full += dense;
      sparse += active_count(*layer, replica);
      superset += supersets[l++][r];
    }
    if (runs_[r].weights.schedule.draws_per_layer()) note_layers(linears, supersets, replica);
    forward_[r].full = 2 * rows_ * full;
    forward_[r].sparse = 2 * rows_ * sparse;
    forward_[r].superset = 2 * rows_ * superset;
  }
}

void FlopsLedger::note_layers(const std::vector<Linear*>& linears,
                              const std::vector<std::vector<double>>& supersets, std::int64_t r) {
  std::vector<ForwardFlops::Layer>& layers = forward_[static_cast<std::size_t>(r)].layers;
  layers.clear();
  std::size_t l = 0;
  for (const Linear* layer : linears) {
    const double dense = static_cast<double>(layer->inputs() * layer->outputs());
    layers.push_back({2 * rows_ * dense, 2 * rows_ * active_count(*layer, r),
                      2 * rows_ * supersets[l++][static_cast<std::size_t>(r)]});
  }
}

double FlopsLedger::forward(std::int64_t r, bool attention_full, bool weights_full) const {
  const ForwardFlops& own = forward_[static_cast<std::size_t>(r)];
  return (weights_full ? own.full : own.sparse) +
         (attention_full ? own.attention_full : own.attention_sparse);
}

void FlopsLedger::charge(const std::vector<ReplicaPlan>& plans,
                         const std::vector<double>& examples) {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const ReplicaPlan& plan = plans[i];
    if (!plan.runs) continue;
    const double step = step_flops(runs_[i].weights, reads_, plan, forward_[i]);
    charged_[i].push_back(step * examples[i]);
  }
}

void FlopsLedger::settle(std::int64_t r, std::int64_t taken) {
  std::vector<double>& own = charged_[static_cast<std::size_t>(r)];
  const auto count = std::min(static_cast<std::size_t>(taken), own.size());
  double& sum = training_[static_cast<std::size_t>(r)];
  for (std::size_t i = 0; i < count; ++i) sum += own[i];
  own.clear();
}

}  // namespace tandem
