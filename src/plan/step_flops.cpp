#include "plan/step_flops.h"

#include <algorithm>

#include "topology/rule_reads.h"

namespace tandem {
namespace {

// Layers whose bit is set at their full stream, the others at their sparse one. With nested masks
// forward.layers has all layers for each of them in turn.
double mixed(const ForwardFlops& forward, const ReplicaPlan& plan, bool within_superset) {
  const std::size_t count = forward.layers.size() / std::max<std::size_t>(1, forward.nested.size());
  const std::size_t first = static_cast<std::size_t>(plan.weights_nested) * count;
  double sum = forward.full;
  for (std::size_t l = 0; l < count; ++l) {
    const ForwardFlops::Layer& layer = forward.layers[first + l];
    const bool full = (plan.weights_layers >> l & 1) != 0;
    sum += (full ? within_superset ? layer.superset : layer.full : layer.sparse) - layer.full;
  }
  return sum;
}

std::int64_t fresh_batches(const Policies& weights, const ReplicaPlan& plan) {
  return plan.updates() && !plan.enters_full ? weights.topology.fresh_batches : 0;
}

// Linear layers: forward and input gradient over M; weight gradient over S, or over everything
// where growth reads the dense gradient. A counterpart whose alignment is local to each layer needs
// no input gradient.
double linear_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                    const ForwardFlops& own) {
  const double full = weights.sets.full_in_superset ? own.superset : own.full;
  const double sparse =
      own.nested.empty() ? own.sparse : own.nested[static_cast<std::size_t>(plan.weights_nested)];
  const bool both = weights.schedule.kind == Schedule::Kind::kBoth || plan.weights_alpha > 0;
  const double running = weights.schedule.draws_per_layer()
                             ? mixed(own, plan, weights.sets.full_in_superset)
                         : plan.weights_full ? full
                                             : sparse;
  const double forward = both ? full + sparse : running;
  const double input_gradient = both && weights.alignment.detached ? running : forward;
  double weight_gradient = forward;
  if (!both && !plan.weights_full) {
    const bool dense_gradient =
        weights.sets.gradient == Support::kAll || reads.at_every_step ||
        (plan.updates() && reads.at_updates && fresh_batches(weights, plan) == 0);
    if (weights.sets.gradient == Support::kSuperset) weight_gradient = own.superset;
    if (dense_gradient) weight_gradient = own.full;
  }
  double step = forward + input_gradient + weight_gradient;
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
  const RuleReads reads = reads_of(criteria_of(rule));
  return {.at_updates = reads.gradient, .at_every_step = reads.accumulates};
}

// An update's own batches cost a step of the sparse stream whose weight gradient is dense, or its
// forward pass where inputs alone are read.
double fresh_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                   const ForwardFlops& own) {
  const double attention = plan.attention_full ? own.attention_full : own.attention_sparse;
  const double one =
      reads.at_updates ? 2 * own.sparse + own.full + 3 * attention : own.sparse + attention;
  return static_cast<double>(fresh_batches(weights, plan)) * one;
}

double step_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                  const ForwardFlops& forward) {
  // An update in place of a step, by batches of its own, leaves the step's batch nothing to do.
  const bool replaced = plan.update_instead && fresh_batches(weights, plan) > 0;
  if (replaced && !reads.at_every_step) return 0;
  return linear_flops(weights, reads, plan, forward) + attention_flops(weights, plan, forward);
}

}  // namespace tandem
