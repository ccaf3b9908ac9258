#include "train/flops.h"

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
    : model_(model), runs_(runs), rows_(rows), training_(runs.size(), 0) {}

double FlopsLedger::products(std::int64_t r, bool weights_full) const {
  double sum = model_.dense_products();
  for (const Linear* layer : model_.linears()) {
    const double dense = static_cast<double>(layer->inputs() * layer->outputs());
    const bool masked = !weights_full && layer->connections != nullptr;
    sum += masked ? static_cast<double>(layer->connections->active(r)) : dense;
  }
  return 2 * rows_ * sum;
}

double FlopsLedger::forward(std::int64_t r, bool attention_full, bool weights_full) const {
  const auto blocks =
      static_cast<double>(runs_[static_cast<std::size_t>(r)].config.integer("blocks"));
  return products(r, weights_full) + model_.attention_flops(attention_full, blocks);
}

void FlopsLedger::charge(const std::vector<ReplicaPlan>& plans,
                         const std::vector<double>& examples) {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const ReplicaPlan& plan = plans[i];
    if (!plan.runs) continue;
    const auto r = static_cast<std::int64_t>(i);
    const Policies& weights = runs_[i].weights;
    const double full = products(r, true), sparse = products(r, false);

    // Linear layers: forward and input gradient over M; weight gradient over S, or over everything
    // where growth reads the dense gradient.
    const bool both = weights.schedule.kind == Schedule::Kind::kBoth || plan.weights_alpha > 0;
    const double forward = both ? full + sparse : plan.weights_full ? full : sparse;
    double weight_gradient = forward;
    if (!both && !plan.weights_full) {
      const bool dense_gradient =
          weights.sets.gradient == Support::kAll ||
          ((plan.update_instead || plan.update_after) && reads_gradient(weights.topology));
      if (dense_gradient) weight_gradient = full;
    }
    double step = 2 * forward + weight_gradient;

    // Attention scores and values: forward once, backward twice.
    const auto blocks = static_cast<double>(runs_[i].config.integer("blocks"));
    const double full_attention = model_.attention_flops(true, blocks);
    const double sparse_attention = model_.attention_flops(false, blocks);
    const bool both_attention = plan.attention_alpha > 0;
    const double passes = weights.schedule.kind == Schedule::Kind::kBoth ||
                                  (weights.alignment.propagated && plan.weights_alpha > 0)
                              ? 2
                              : 1;
    step += 3 * passes *
            (both_attention        ? full_attention + sparse_attention
             : plan.attention_full ? full_attention
                                   : sparse_attention);
    training_[i] += step * examples[i];
  }
}

}  // namespace tandem
