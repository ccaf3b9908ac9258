// These spread a number per replica over what a parameter holds of each replica.
//
// Shapes: R replicas (runs of the group).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/parameter.h"

namespace tandem {

// Repeats per_replica [R] at each position of its segment. Equal segments need nothing of the host.
at::Tensor broadcast_to_segments(const at::Tensor& per_replica,
                                 const std::vector<std::int64_t>& segments);

// Returns per_replica [R] in a shape that is broadcast over the parameter's value.
at::Tensor broadcast_to_values(const at::Tensor& per_replica, const Parameter& parameter);

}  // namespace tandem
