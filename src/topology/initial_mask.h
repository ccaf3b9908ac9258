// Initial masks: a random exact count per layer, the largest |w|, or everything.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "policy/policy.h"
#include "topology/budgets.h"

namespace tandem {

// Mask of one layer, uint8 [R, in*out]; undefined where everything is active. weight: [R,in,out].
// active[r] of the positions; keys[r] = topology_key(run's stream "topology", layer, 0).
at::Tensor initial_mask(Start::Pattern pattern, const at::Tensor& weight,
                        const std::vector<std::int64_t>& active,
                        const std::vector<std::uint64_t>& keys);

// Masks of all layers. starts[r] may differ in density, not in kind; weights[l]: [R,in,out];
// run_keys[r]: the run's stream "topology". Exempt layers get an undefined mask.
std::vector<at::Tensor> initial_masks(const std::vector<Start>& starts,
                                      const std::vector<LayerShape>& layers,
                                      const std::vector<at::Tensor>& weights,
                                      const std::vector<std::uint64_t>& run_keys);

}  // namespace tandem
