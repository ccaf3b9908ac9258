#include "topology/nested_masks.h"

#include <algorithm>

namespace tandem {

std::vector<std::vector<std::int64_t>> nested_counts(const std::vector<LayerShape>& shapes,
                                                     const Start& start,
                                                     const std::vector<double>& shares,
                                                     const std::vector<std::int64_t>& active) {
  std::vector<std::vector<std::int64_t>> counts = {active};
  for (std::size_t i = 1; i < shares.size(); ++i) {
    const auto budgets = spread_budget(shapes, start, start.density * shares[i]);
    counts.push_back(counts.back());
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      counts[i][l] = std::min(counts[i][l], budgets[l].active);
    }
  }
  return counts;
}

}  // namespace tandem
