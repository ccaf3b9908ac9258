// An initial mask is a random exact count per layer, the largest |w|, or everything.
//
// Shapes: R replicas (runs of the group), in and out the layer's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "policy/policy.h"

namespace tandem {

// Returns the mask of one layer, uint8 [R, in*out]; it is undefined where everything is active.
// `weight` is [R,in,out], and active[r] the budget in positions, one that the granularity can hold
// (spread_budget of a Start).
// keys[r] = topology_key(run's stream "topology", layer, 0).
at::Tensor initial_mask(Start::Pattern pattern, const at::Tensor& weight,
                        const std::vector<std::int64_t>& active,
                        const std::vector<std::uint64_t>& keys,
                        const Granularity& granularity = {});

}  // namespace tandem
