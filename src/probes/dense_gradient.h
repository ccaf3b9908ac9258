// The dense gradient dL/dW_eff of the sparse net: forward M*W through each layer's current mask,
// backward to every position, whatever the method itself lets through. What a training step left in
// the model (gradients, factors, input scales) stays as it is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "probes/probe.h"

namespace tandem {

// Beside Model::linears(): [R,n] in the layer's dtype, undefined where it has no connections.
using LayerGradients = std::vector<at::Tensor>;

// Of the parts' mean loss. Weights must be dense (DenseCopies); throws where there are no parts.
struct GradientMoments {
  LayerGradients mean;
  LayerGradients square;  // sum over parts of (g - mean)^2
  std::int64_t parts = 0;
};
GradientMoments gradient_moments(const ProbeInput& input, std::int64_t most_parts);

// The forward pass of the sparse net, at the attention level as it is trained.
Context sparse_context(const std::vector<ReadoutRun>& runs);

}  // namespace tandem
