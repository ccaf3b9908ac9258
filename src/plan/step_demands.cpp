#include "plan/step_demands.h"

namespace tandem {
namespace {

// A set is smaller than everything; that of the stream only where the stream's own is.
bool cuts(Support set, bool stream_is_cut) {
  switch (set) {
    case Support::kMask:
    case Support::kSuperset:
      return true;
    case Support::kStream:
      return stream_is_cut;
    case Support::kAll:
      return false;
  }
  return false;
}

}  // namespace

bool computes_both(const Demands& weights, const ReplicaPlan& plan) {
  return weights.both_streams || plan.levels.weights.alpha > 0;
}

bool takes_two_passes(const Demands& weights, bool aligns) {
  return weights.both_streams || (weights.counterpart_pass && aligns);
}

bool full_in_layer(const Demands& weights, const ReplicaPlan& plan, std::size_t layer) {
  return weights.layers_draw ? (plan.levels.weights.full_layers >> layer & 1) != 0
                             : plan.levels.weights.full;
}

bool cuts_gradient(const Demands& weights, const ReplicaPlan& plan) {
  const bool one_stream = !weights.layers_draw && !computes_both(weights, plan);
  return cuts(weights.gradient, one_stream && !plan.levels.weights.full);
}

bool cuts_update(const Demands& weights, const ReplicaPlan& plan) {
  return cuts(weights.update, !plan.levels.weights.full);
}

bool reaches_all(const Demands& weights, const ReplicaPlan& plan, std::size_t layer) {
  if (!weights.ever_reaches_all || !plan.runs || plan.update_instead) return false;
  return weights.gradient == Support::kAll || computes_both(weights, plan) ||
         full_in_layer(weights, plan, layer);
}

std::int64_t fresh_batches(const Demands& weights, const ReplicaPlan& plan) {
  return plan.updates() && !plan.enters_full ? weights.fresh_batches : 0;
}

bool shows_dense_gradient(const Demands& weights, const ReplicaPlan& plan) {
  return weights.accumulates ||
         (weights.reads_gradient && plan.updates() && fresh_batches(weights, plan) == 0);
}

}  // namespace tandem
