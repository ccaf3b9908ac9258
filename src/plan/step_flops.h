// What one training step of one example costs, in floating-point operations, given what a forward
// pass costs in either stream. The ledger charges it for steps as they happen (plan/flops.h), and
// schedules are stretched by its expectation (plan/match.h).
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"
#include "policy/demands.h"

namespace tandem {

// These are the operations of one example's forward pass, by level and stream.
struct ForwardFlops {
  struct Streams {
    double full = 0, sparse = 0;
  };
  struct Layer {
    double full, sparse, superset;
  };
  PerLevel<Streams> levels;  // attention; linear layers
  std::int64_t attention_layers = 0;
  double superset = 0;              // of the linear layers' full stream within B
  std::vector<Layer> layers = {};   // linear layers, where they draw streams of their own
  std::vector<double> nested = {};  // the sparse linear layers, with each of the nested masks
};

// Returns the operations per example of the batches that an update draws for itself, all of them
// together.
double fresh_flops(const PerLevel<Demands>& demands, const ReplicaPlan& plan,
                   const ForwardFlops& forward);
// Returns the operations per example of the step's own batch.
double step_flops(const PerLevel<Demands>& demands, const ReplicaPlan& plan,
                  const ForwardFlops& forward);

}  // namespace tandem
