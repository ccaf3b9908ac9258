// Initial masks: a random exact count per layer, the largest |w|, or everything.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "policy/policy.h"

namespace tandem {

// Mask of one layer, uint8 [R, in*out]; undefined where everything is active. weight: [R,in,out].
// active[r]: the budget in positions, one that the granularity can hold (spread_budget of a Start).
// keys[r] = topology_key(run's stream "topology", layer, 0).
at::Tensor initial_mask(Start::Pattern pattern, const at::Tensor& weight,
                        const std::vector<std::int64_t>& active,
                        const std::vector<std::uint64_t>& keys,
                        const Granularity& granularity = {});

}  // namespace tandem
