// When a unit counts as active for an example: where |h| > 0, or where |h| > 1e-3 root mean square
// of the layer if activations take both signs.
#pragma once

#include <ATen/core/Tensor.h>

namespace tandem {

// `units` is [N,H] of one layer and replica, for N examples or tokens; the flags are bool [N,H].
at::Tensor active_units(const at::Tensor& units);

}  // namespace tandem
