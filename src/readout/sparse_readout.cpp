// Sparse read-outs of a trained net.
//   mask = the k largest |w| of a layer, ties to the smaller index; ranked active first, a dormant
//   weight comes after every active one.
// Without active first, a net that trains its sparse stream alone would be scored by weights that
// it never learnt to suppress.
#include <algorithm>

#include "data/tensor.h"
#include "readout/readout.h"
#include "topology/select_rows.h"

namespace tandem {

at::Tensor readout_mask(const Linear& layer, const std::vector<std::int64_t>& active,
                        bool active_first) {
  at::NoGradGuard no_grad;
  const at::Tensor scores = magnitudes(layer);
  if (!active_first) return select_rows(scores, {}, active, /*largest=*/true);
  const at::Tensor flags = current_flags(layer);
  const at::Tensor present = flags.ne(0).sum(1).to(torch::kCPU);
  std::vector<std::int64_t> inside, outside;
  for (std::size_t r = 0; r < active.size(); ++r) {
    inside.push_back(
        std::min(active[r], present[static_cast<std::int64_t>(r)].item<std::int64_t>()));
    outside.push_back(active[r] - inside.back());
  }
  const at::Tensor first = select_rows(scores, flags, inside, /*largest=*/true);
  const bool dormant_too =
      std::any_of(outside.begin(), outside.end(), [](std::int64_t count) { return count > 0; });
  if (!dormant_too) return first;
  return first + select_rows(scores, flags.eq(0).to(torch::kByte), outside, /*largest=*/true);
}

SparseReadout::SparseReadout(Model& model, const std::vector<ReadoutRun>& runs,
                             const std::vector<double>& density)
    : model_(model) {
  if (keeps_own_nets(model, runs, density)) return;
  const LayerCounts counts = readout_counts(model, runs, density);
  copies_ = std::make_unique<DenseCopies>(model);
  const bool own = density == trained_density(runs);
  kept_ = put_masked(model,
                     readout_masks(model, counts, ranks_active_first(runs),
                                   own ? runs.front().weights.start.granularity : Granularity{}));
}

SparseReadout::~SparseReadout() {
  if (!kept_.empty()) put_back(model_, kept_);
}

}  // namespace tandem
