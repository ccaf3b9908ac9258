// Masks of a network's layers as the engine starts them.
#pragma once

#include <vector>

#include "data/tensor.h"
#include "topology/initial_mask.h"
#include "topology/storage.h"

namespace tandem::test {

// weights[l]: [R,in,out]; undefined where everything is active.
inline std::vector<at::Tensor> start_masks(const std::vector<Start>& starts,
                                           const std::vector<LayerShape>& layers,
                                           const std::vector<at::Tensor>& weights,
                                           const std::vector<std::uint64_t>& run_keys) {
  std::vector<at::Tensor> masks;
  for (const LayerStart& own : layer_starts(starts, layers, run_keys)) {
    masks.push_back(
        initial_mask(own.pattern, weights[masks.size()], own.active, own.keys, own.granularity));
  }
  return masks;
}

}  // namespace tandem::test
