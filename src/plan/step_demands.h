// What one step of one replica does under its policies' demands: which products it computes and
// where its gradients reach. The step itself, the ledger and what asks back in time share it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/plan.h"
#include "policy/demands.h"

namespace tandem {

// Both streams' products are computed: each step's own two, or the counterpart of an alignment.
bool computes_both(const Demands& weights, const ReplicaPlan& plan);
// They are computed in two passes through the whole network.
bool takes_two_passes(const Demands& weights, bool aligns);
// The full stream runs in this linear layer.
bool full_in_layer(const Demands& weights, const ReplicaPlan& plan, std::size_t layer);
// The gradient of a whole replica is cut to M, or to B. Where both products ran, the sparse one's
// was cut by the product itself, and where each layer drew its own stream, layer by layer.
bool cuts_gradient(const Demands& weights, const ReplicaPlan& plan);
// The update of a whole replica is cut to M, or to B.
bool cuts_update(const Demands& weights, const ReplicaPlan& plan);
// The optimizer's step changes every position of the layer.
bool reaches_all(const Demands& weights, const ReplicaPlan& plan, std::size_t layer);
// Batches that the update after, or in place of, the step draws for itself.
std::int64_t fresh_batches(const Demands& weights, const ReplicaPlan& plan);
// The step's own batch leaves the gradient of all positions, which criteria read.
bool shows_dense_gradient(const Demands& weights, const ReplicaPlan& plan);

}  // namespace tandem
