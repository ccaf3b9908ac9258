// Initial masks through the same selections that updates use.
#include "topology/initial_mask.h"

#include <algorithm>

#include "data/tensor.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"

namespace tandem {

at::Tensor initial_mask(Start::Pattern pattern, const at::Tensor& weight,
                        const std::vector<std::int64_t>& active,
                        const std::vector<std::uint64_t>& keys) {
  TORCH_INTERNAL_ASSERT(
      weight.dim() == 3 && weight.size(0) == static_cast<std::int64_t>(active.size()) &&
          active.size() == keys.size(),
      "weight ", weight.sizes(), " with ", active.size(), " counts and ", keys.size(), " keys");
  const at::Tensor rows = weight.detach().reshape({weight.size(0), -1});
  const bool everything = std::all_of(active.begin(), active.end(),
                                      [&](std::int64_t count) { return count == rows.size(1); });
  if (pattern == Start::Pattern::kDense || everything) return {};
  if (pattern == Start::Pattern::kMagnitude) {
    return select_rows(rows.abs(), {}, active, /*largest=*/true);
  }
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : keys) streams.push_back(draw_stream(key, Draw::kGrow));
  return random_rows(torch::ones(rows.sizes(), rows.options().dtype(torch::kByte)), active,
                     streams);
}

std::vector<at::Tensor> initial_masks(const std::vector<Start>& starts,
                                      const std::vector<LayerShape>& layers,
                                      const std::vector<at::Tensor>& weights,
                                      const std::vector<std::uint64_t>& run_keys) {
  TORCH_INTERNAL_ASSERT(!starts.empty() && starts.size() == run_keys.size() &&
                        layers.size() == weights.size());
  std::vector<std::vector<LayerBudget>> budgets;
  for (const Start& start : starts) {
    budgets.push_back(spread_budget(layers, start.density, start.budget));
  }
  std::vector<at::Tensor> masks;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    std::vector<std::int64_t> active;
    std::vector<std::uint64_t> keys;
    for (std::size_t r = 0; r < starts.size(); ++r) {
      active.push_back(budgets[r][l].active);
      keys.push_back(topology_key(run_keys[r], static_cast<std::int64_t>(l), 0));
    }
    masks.push_back(initial_mask(starts[0].pattern, weights[l], active, keys));
  }
  return masks;
}

}  // namespace tandem
