// Initial masks are chosen by the same selections that updates use.
#include "topology/initial_mask.h"

#include <algorithm>

#include "data/tensor.h"
#include "topology/granularity.h"
#include "topology/random_ranks.h"

namespace tandem {

at::Tensor initial_mask(Start::Pattern pattern, const at::Tensor& weight,
                        const std::vector<std::int64_t>& active,
                        const std::vector<std::uint64_t>& keys, const Granularity& granularity) {
  TORCH_INTERNAL_ASSERT(
      weight.dim() == 3 && weight.size(0) == static_cast<std::int64_t>(active.size()) &&
          active.size() == keys.size(),
      "weight ", weight.sizes(), " with ", active.size(), " counts and ", keys.size(), " keys");
  const at::Tensor rows = weight.detach().reshape({weight.size(0), -1});
  const bool everything = std::all_of(active.begin(), active.end(),
                                      [&](std::int64_t count) { return count == rows.size(1); });
  if (pattern == Start::Pattern::kDense || everything) return {};
  const Grouping grouping(granularity, weight.size(1), weight.size(2));
  const LayerShape shape{"", weight.size(1), weight.size(2), false};
  std::vector<std::int64_t> items;
  for (const std::int64_t count : active) items.push_back(budget_items(shape, granularity, count));
  if (pattern == Start::Pattern::kMagnitude) {
    if (!grouping.has_quotas()) return grouping.choose(rows.abs(), {}, items, /*largest=*/true);
    return grouping.choose_in_groups(rows.abs(), {}, grouping.quotas(items), /*largest=*/true);
  }
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : keys) streams.push_back(draw_stream(key, Draw::kGrow));
  const at::Tensor all = torch::ones(rows.sizes(), rows.options().dtype(torch::kByte));
  if (!grouping.has_quotas()) return grouping.choose_random(all, items, streams);
  return grouping.random_in_groups(all, grouping.quotas(items), streams);
}

}  // namespace tandem
