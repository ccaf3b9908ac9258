#include "plan/step_flops.h"

#include <algorithm>

#include "plan/step_demands.h"

namespace tandem {
namespace {

// Layers whose bit is set at their full stream, the others at their sparse one. With nested masks
// forward.layers has all layers for each of them in turn.
double mixed(const ForwardFlops& forward, const ReplicaPlan& plan, bool within_superset) {
  const std::size_t count = forward.layers.size() / std::max<std::size_t>(1, forward.nested.size());
  const std::size_t first = static_cast<std::size_t>(plan.nested) * count;
  double sum = forward.levels.weights.full;
  for (std::size_t l = 0; l < count; ++l) {
    const ForwardFlops::Layer& layer = forward.layers[first + l];
    const bool full = (plan.levels.weights.full_layers >> l & 1) != 0;
    sum += (full ? within_superset ? layer.superset : layer.full : layer.sparse) - layer.full;
  }
  return sum;
}

double running(const ForwardFlops::Streams& streams, const LevelStep& step) {
  return step.full ? streams.full : streams.sparse;
}

// Attention costs the same in each layer.
double running_attention(const Demands& attention, const ReplicaPlan& plan,
                         const ForwardFlops& own) {
  const ForwardFlops::Streams& streams = own.levels.attention;
  const LevelStep& step = plan.levels.attention;
  if (!attention.layers_draw) return running(streams, step);
  std::int64_t full = 0;
  for (std::int64_t l = 0; l < own.attention_layers; ++l) full += step.full_layers >> l & 1;
  const double share = static_cast<double>(full) / static_cast<double>(own.attention_layers);
  return share * streams.full + (1 - share) * streams.sparse;
}

// Linear layers: forward and input gradient over M; weight gradient over S, or over everything
// where growth reads the dense gradient. A counterpart whose alignment is local to each layer needs
// no input gradient.
double linear_flops(const Demands& weights, const ReplicaPlan& plan, const ForwardFlops& own) {
  const double everything = own.levels.weights.full;
  const double full = weights.full_in_superset ? own.superset : everything;
  const double sparse = own.nested.empty() ? own.levels.weights.sparse
                                           : own.nested[static_cast<std::size_t>(plan.nested)];
  const bool both = computes_both(weights, plan), runs_full = plan.levels.weights.full;
  const double trained = weights.layers_draw ? mixed(own, plan, weights.full_in_superset)
                         : runs_full         ? full
                                             : sparse;
  const double forward = both ? full + sparse : trained;
  const double input_gradient = both && weights.detached ? trained : forward;
  double weight_gradient = forward;
  if (!both && !runs_full) {
    if (weights.gradient == Support::kSuperset) weight_gradient = own.superset;
    if (weights.gradient == Support::kAll || shows_dense_gradient(weights, plan)) {
      weight_gradient = everything;
    }
  }
  double step = forward + input_gradient + weight_gradient;
  if (weights.perturbed) step *= 2;
  if (weights.teacher) step += 3 * everything;
  return step;
}

// Attention scores and values: forward once, backward twice.
double attention_flops(const PerLevel<Demands>& demands, const ReplicaPlan& plan,
                       const ForwardFlops& own) {
  const ForwardFlops::Streams& streams = own.levels.attention;
  const double passes = takes_two_passes(demands.weights, plan.levels.weights.alpha > 0) ? 2 : 1;
  const bool both = plan.levels.attention.alpha > 0;
  return 3 * passes *
         (both ? streams.full + streams.sparse : running_attention(demands.attention, plan, own));
}

}  // namespace

// An update's own batches cost a step of the sparse stream whose weight gradient is dense, or its
// forward pass where inputs alone are read.
double fresh_flops(const PerLevel<Demands>& demands, const ReplicaPlan& plan,
                   const ForwardFlops& own) {
  const Demands& weights = demands.weights;
  const double attention = running_attention(demands.attention, plan, own);
  const ForwardFlops::Streams& linear = own.levels.weights;
  const double one = weights.reads_gradient ? 2 * linear.sparse + linear.full + 3 * attention
                                            : linear.sparse + attention;
  return static_cast<double>(fresh_batches(weights, plan)) * one;
}

double step_flops(const PerLevel<Demands>& demands, const ReplicaPlan& plan,
                  const ForwardFlops& forward) {
  const Demands& weights = demands.weights;
  // An update in place of a step, by batches of its own, leaves the step's batch nothing to do.
  const bool replaced = plan.update_instead && fresh_batches(weights, plan) > 0;
  if (replaced && !weights.accumulates) return 0;
  return linear_flops(weights, plan, forward) + attention_flops(demands, plan, forward);
}

}  // namespace tandem
