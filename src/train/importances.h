// What importances of weights cost beside the step.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tandem {

// Copies of a net, of so many weights, in each of which an example has a gradient of its own: more
// of a small one, whose passes cost less than starting them does. Not a matter of company or of the
// device, as sums over examples are taken copy by copy.
constexpr std::int64_t importance_copies(double weights) {
  constexpr double kWeights = 1 << 20;
  return std::clamp(static_cast<std::int64_t>(kWeights / std::max(weights, 1.0)), std::int64_t{1},
                    std::int64_t{16});
}

}  // namespace tandem
