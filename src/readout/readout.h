// The sparse net that a run stands for, and ways to look at a model through other masks than its
// own.
//
//   zero dormant      the current mask
//   full stream runs  the largest |w| at the run's density, ranked afresh
//   else              the same, current active positions first
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "nn/model.h"
#include "policy/policy.h"
#include "topology/budgets.h"

namespace tandem {

struct ReadoutRun {  // what a read-out has to know of one replica's run
  Config config;
  Policies attention, weights;
};

// Beside Model::linears(): uint8 [R,n], or undefined where a layer has no connections.
using LayerMasks = std::vector<at::Tensor>;
using LayerCounts = std::vector<std::vector<std::int64_t>>;  // likewise [R], or empty

// Each linear layer reads what the one before it writes, so that paths through the net are known.
bool is_chain(Model& model);

// Of a group, whose runs agree in kind.
bool dormant_carry_values(const std::vector<ReadoutRun>& runs);
bool ranks_active_first(const std::vector<ReadoutRun>& runs);

std::vector<double> trained_density(const std::vector<ReadoutRun>& runs);  // [R]
// Connections that a read-out keeps. Ranked active first, a net within its budget stays as it is.
LayerCounts readout_counts(Model& model, const std::vector<ReadoutRun>& runs,
                           const std::vector<double>& density);
// Whether that is the own net of every replica, which its sparse stream computes as it is.
bool keeps_own_nets(Model& model, const std::vector<ReadoutRun>& runs,
                    const std::vector<double>& density);
// Masks, and what takes them, need weight values [R,in,out]: see DenseCopies.
// granularity: of the trained net, where counts are those of its own density.
LayerMasks readout_masks(Model& model, const LayerCounts& counts, bool active_first,
                         const Granularity& granularity = {});
LayerMasks trained_masks(Model& model, const std::vector<ReadoutRun>& runs);

// Mask of the `active` largest magnitudes of each replica's weights, ties to the smaller index; the
// currently active positions come first where `active_first`. uint8 [R,n].
at::Tensor readout_mask(const Linear& layer, const std::vector<std::int64_t>& active,
                        bool active_first);

at::Tensor magnitudes(const Linear& layer);     // |w| of all positions, [R,n], no autograd
at::Tensor current_flags(const Linear& layer);  // active flags of all positions, uint8 [R,n]
LayerMasks current_masks(Model& model);         // of all layers

// Dense copies are made of so many positions at most, over layers and replicas.
constexpr std::int64_t kDenseCopyPositions = std::int64_t{1} << 27;
// What is too large in a model whose layers store less; empty: nothing is.
std::string too_large_to_copy(Model& model);

// While it lives, every layer that is stored otherwise is dense: its weight, with zeros where
// nothing is stored, and a mask. Slots stay as they are and don't fit. Costs nothing where all
// layers are dense. Throws ConfigError where too_large_to_copy().
class DenseCopies {
 public:
  explicit DenseCopies(Model& model);
  ~DenseCopies();
  DenseCopies(const DenseCopies&) = delete;
  DenseCopies& operator=(const DenseCopies&) = delete;

 private:
  class Layer;
  std::vector<std::unique_ptr<Layer>> layers_;
};

// The context of a forward pass through the stream that each level trains; full where both are.
Context trained_context(const std::vector<ReadoutRun>& runs);

// Weights outside of the masks become zero; what was there comes back by put_back.
std::vector<at::Tensor> put_masked(Model& model, const LayerMasks& masks);
void put_back(Model& model, const std::vector<at::Tensor>& kept);

class MaskedWeights {
 public:
  MaskedWeights(Model& model, const LayerMasks& masks)
      : model_(model), kept_(put_masked(model, masks)) {}
  ~MaskedWeights() { put_back(model_, kept_); }
  MaskedWeights(const MaskedWeights&) = delete;
  MaskedWeights& operator=(const MaskedWeights&) = delete;

 private:
  Model& model_;
  std::vector<at::Tensor> kept_;
};

// While it lives, the model is ready for a sparse read-out at the given density per replica (spread
// over layers by the runs' own budget) in one product, that of view(): its linear layers hold their
// weights masked, or, where every replica keeps its own net, everything is as it was.
class SparseReadout {
 public:
  SparseReadout(Model& model, const std::vector<ReadoutRun>& runs,
                const std::vector<double>& density);
  ~SparseReadout();
  SparseReadout(const SparseReadout&) = delete;
  SparseReadout& operator=(const SparseReadout&) = delete;

  View view() const { return kept_.empty() ? View::kSparse : View::kFull; }

 private:
  Model& model_;
  std::unique_ptr<DenseCopies> copies_;
  std::vector<at::Tensor> kept_;  // empty: as it was
};

// While it lives, the sparse stream of the layers runs through `masks`; weights, and the layers'
// own connections, stay untouched.
class BorrowedMasks {
 public:
  BorrowedMasks(Model& model, const LayerMasks& masks);
  ~BorrowedMasks();
  BorrowedMasks(const BorrowedMasks&) = delete;
  BorrowedMasks& operator=(const BorrowedMasks&) = delete;

 private:
  std::vector<Linear*> linears_;
  std::vector<std::unique_ptr<Connections>> kept_;
};

}  // namespace tandem
