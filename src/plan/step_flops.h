// What one training step of one example costs, in floating-point operations, given what a forward
// pass costs in either stream. The ledger charges it for steps as they happen (plan/flops.h), and
// schedules are stretched by its expectation (plan/match.h).
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"
#include "policy/policy.h"

namespace tandem {

// These are the operations of one example's forward pass: linear layers per stream, attention per
// stream.
struct ForwardFlops {
  double full = 0, sparse = 0, superset = 0, attention_full = 0, attention_sparse = 0;
  struct Layer {
    double full, sparse, superset;
  };
  std::vector<Layer> layers = {};   // where they draw streams of their own
  std::vector<double> nested = {};  // sparse, with each of the nested masks
};

// When a rule's criteria read the gradient of all positions.
struct DenseGradient {
  bool at_updates = false, at_every_step = false;
};
DenseGradient dense_gradient_of(const TopologyRule& rule);

// Returns the operations per example of the batches that an update draws for itself, all of them
// together.
double fresh_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                   const ForwardFlops& forward);
// Returns the operations per example of the step's own batch.
double step_flops(const Policies& weights, const DenseGradient& reads, const ReplicaPlan& plan,
                  const ForwardFlops& forward);

}  // namespace tandem
