// A number per replica, spread over what a parameter holds of each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/parameter.h"

namespace tandem {

// per_replica [R] at each position of its segment. Equal segments need nothing of the host.
at::Tensor over_segments(const at::Tensor& per_replica, const std::vector<std::int64_t>& segments);

// per_replica [R], shaped to be broadcast over the parameter's value.
at::Tensor over_values(const at::Tensor& per_replica, const Parameter& parameter);

}  // namespace tandem
