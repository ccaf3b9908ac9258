// This counts how many weights each of a run's nested masks holds (Sets::nested).
//
// Shapes: L layers.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/budgets.h"

namespace tandem {

// Returns counts [shares][L]. The first nested mask is the mask, which holds active [L]; the others
// have the budget of density x share, spread as budgets are, and never more than the one before.
std::vector<std::vector<std::int64_t>> nested_counts(const std::vector<LayerShape>& shapes,
                                                     const Start& start,
                                                     const std::vector<double>& shares,
                                                     const std::vector<std::int64_t>& active);

}  // namespace tandem
