// Sparse read-outs of a trained net.
#include "data/tensor.h"
#include "readout/readout.h"

namespace tandem {

SparseReadout::SparseReadout(Model& model, const std::vector<ReadoutRun>& runs,
                             const std::vector<double>& density, const RankingBatch& batch)
    : model_(model) {
  if (keeps_own_nets(model, runs, density)) return;
  copies_ = std::make_unique<DenseCopies>(model);
  kept_ = mask_weights(model, readout_masks(model, runs, density, batch));
}

SparseReadout::~SparseReadout() {
  if (!kept_.empty()) restore_weights(model_, kept_);
}

}  // namespace tandem
