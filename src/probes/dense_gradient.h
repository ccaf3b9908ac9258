// This computes the dense gradient dL/dW_eff of the sparse net: forward M*W through each layer's
// current mask, backward to every position, whatever the method itself lets through. What a
// training step left in the model (gradients, factors, input scales) stays as it is.
//
// Shapes: R replicas (runs of the group), n positions of a layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "probes/probe.h"

namespace tandem {

// There is one tensor for each of Model::linears(): [R,n] in the layer's dtype, undefined where the
// layer has no connections.
using LayerGradients = std::vector<at::Tensor>;

// These are moments of the gradient of the parts' mean losses. Weights must be dense (DenseCopies);
// gradient_moments() throws where there are no parts.
struct GradientMoments {
  LayerGradients mean;
  LayerGradients square;  // sum over parts of (g - mean)^2
  std::int64_t parts = 0;
};
GradientMoments gradient_moments(const ProbeInput& input, std::int64_t most_parts);

// Returns the context of the sparse net's forward pass; attention is as it is trained.
Context sparse_context(const std::vector<ReadoutRun>& runs);

}  // namespace tandem
