#include "train/flops.h"

#include <algorithm>

#include "topology/connections.h"

namespace tandem {
namespace {

bool reads_gradient(const TopologyRule& rule) {
  for (const TopologyOperation& operation : rule.operations) {
    if (criterion(operation.criterion).needs_gradient) return true;
  }
  return false;
}

}  // namespace

FlopsLedger::FlopsLedger(Model& model, const std::vector<RunSchedule>& runs, double rows)
    : model_(model),
      runs_(runs),
      rows_(rows),
      reads_gradient_(reads_gradient(runs.front().weights.topology)),
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
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    double full = model_.dense_products(), sparse = full;
    for (const Linear* layer : linears) {
      const double dense = static_cast<double>(layer->inputs() * layer->outputs());
      full += dense;
      sparse += layer->connections == nullptr
                    ? dense
                    : static_cast<double>(layer->connections->active(static_cast<std::int64_t>(r)));
    }
    forward_[r].full = 2 * rows_ * full;
    forward_[r].sparse = 2 * rows_ * sparse;
  }
}

double FlopsLedger::forward(std::int64_t r, bool attention_full, bool weights_full) const {
  const Forward& own = forward_[static_cast<std::size_t>(r)];
  return (weights_full ? own.full : own.sparse) +
         (attention_full ? own.attention_full : own.attention_sparse);
}

void FlopsLedger::charge(const std::vector<ReplicaPlan>& plans,
                         const std::vector<double>& examples) {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const ReplicaPlan& plan = plans[i];
    if (!plan.runs) continue;
    const Policies& weights = runs_[i].weights;
    const double full = forward_[i].full, sparse = forward_[i].sparse;

    // Linear layers: forward and input gradient over M; weight gradient over S, or over everything
    // where growth reads the dense gradient.
    const bool both = weights.schedule.kind == Schedule::Kind::kBoth || plan.weights_alpha > 0;
    const double forward = both ? full + sparse : plan.weights_full ? full : sparse;
    double weight_gradient = forward;
    if (!both && !plan.weights_full) {
      const bool dense_gradient = weights.sets.gradient == Support::kAll ||
                                  ((plan.update_instead || plan.update_after) && reads_gradient_);
      if (dense_gradient) weight_gradient = full;
    }
    double step = 2 * forward + weight_gradient;

    // Attention scores and values: forward once, backward twice.
    const bool both_attention = plan.attention_alpha > 0;
    const double passes = weights.schedule.kind == Schedule::Kind::kBoth ||
                                  (weights.alignment.propagated && plan.weights_alpha > 0)
                              ? 2
                              : 1;
    step += 3 * passes *
            (both_attention        ? forward_[i].attention_full + forward_[i].attention_sparse
             : plan.attention_full ? forward_[i].attention_full
                                   : forward_[i].attention_sparse);
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
