#include "train/step_flops.h"

#include "topology/criteria.h"

namespace tandem {
namespace {

// Layers whose bit is set at their full stream, the others at their sparse one.
double mixed(const ForwardFlops& forward, std::uint64_t full_layers, bool within_superset) {
  double sum = forward.full;
  for (std::size_t l = 0; l < forward.layers.size(); ++l) {
    const ForwardFlops::Layer& layer = forward.layers[l];
    const bool full = (full_layers >> l & 1) != 0;
    sum += (full ? within_superset ? layer.superset : layer.full : layer.sparse) - layer.full;
  }
  return sum;
}

// Linear layers: forward and input gradient over M; weight gradient over S, or over everything
// where growth reads the dense gradient.
double linear_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                    const ForwardFlops& own) {
  const double full = weights.sets.full_in_superset ? own.superset : own.full;
  const bool both = weights.schedule.kind == Schedule::Kind::kBoth || plan.weights_alpha > 0;
  const double forward = both ? full + own.sparse
                         : weights.schedule.draws_per_layer()
                             ? mixed(own, plan.weights_layers, weights.sets.full_in_superset)
                         : plan.weights_full ? full
                                             : own.sparse;
  double weight_gradient = forward;
  if (!both && !plan.weights_full) {
    const bool dense_gradient = weights.sets.gradient == Support::kAll || reads.at_every_step ||
                                (plan.updates() && reads.at_updates);
    if (weights.sets.gradient == Support::kSuperset) weight_gradient = own.superset;
    if (dense_gradient) weight_gradient = own.full;
  }
  double step = 2 * forward + weight_gradient;
  if (weights.perturbation.kind != Perturbation::Kind::kNone) step *= 2;
  if (weights.teacher.alpha > 0) step += 3 * own.full;
  return step;
}

// Attention scores and values: forward once, backward twice.
double attention_flops(const Policies& weights, const ReplicaPlan& plan, const ForwardFlops& own) {
  const bool both = plan.attention_alpha > 0;
  const double passes = weights.schedule.kind == Schedule::Kind::kBoth ||
                                (weights.alignment.propagated && plan.weights_alpha > 0)
                            ? 2
                            : 1;
  return 3 * passes *
         (both                  ? own.attention_full + own.attention_sparse
          : plan.attention_full ? own.attention_full
                                : own.attention_sparse);
}

}  // namespace

DenseGradient dense_gradient_of(const TopologyRule& rule) {
  DenseGradient reads;
  reads.at_every_step = rule.redistribution != TopologyRule::Redistribution::kNone;
  for (const TopologyOperation& operation : rule.operations) {
    const Criterion& chosen = criterion(operation.criterion);
    reads.at_updates = reads.at_updates || chosen.needs_gradient;
    reads.at_every_step = reads.at_every_step || chosen.accumulate != nullptr;
  }
  return reads;
}

double step_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                  const ForwardFlops& forward) {
  return linear_flops(weights, reads, plan, forward) + attention_flops(weights, plan, forward);
}

}  // namespace tandem
