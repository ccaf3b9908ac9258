// These spread a number per replica over what a parameter holds of each replica, and sum over it.
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

// Returns the sum of each replica's segment of values beside Parameter::flat(), double [R]; on a
// CPU they are taken one by one, so that rounding does not depend on company.
at::Tensor segment_sums(const at::Tensor& values, const Parameter& parameter);

}  // namespace tandem
