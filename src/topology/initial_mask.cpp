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

}  // namespace tandem
