// The sparse net that a run stands for, and ways to look at a model through other masks than its
// own. Evaluation, probes, budget curves and exports all ask here.
//
//   At the trained density the sparse net is the mask that the method trains with, as it is now:
//   the mask that alignment and the sparse stream use. Where there is none (dense, sam, cram,
//   powerprop, small_dense, a full phase of acdc, dsd and prune_finetune) the weights are ranked
//   now. At another density, and where a mask holds more than the density (gradual pruning under
//   way), the weights are ranked now as well. Ranking is by what ranks the method's own mask
//   (mask_source), by |w| where nothing does. Gradients and inputs are those of one fixed batch,
//   through the stream of the mask that is there now (all weights where there is none); `random` is
//   keyed by (run, layer). Ties go to the smaller position. Each layer keeps its share of the run's
//   budget, and at the trained density the run's granularity holds. What ranks first: where dormant
//   weights are zero, or the mask moves by drops and growths, what is active now; within a superset
//   outside of which weights are zero, the superset. A net that never learnt to suppress its
//   dormant weights is so not scored by them.
//
// Evaluation reads a net within a budget (readout_masks), and probes the same one (trained_masks),
// but for a net with zeros outside of a mask that still shrinks toward its density: probes look at
// all of it, as it is trained.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
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
  PerLevel<Policies> policies;
  bool full_phase = false;  // all weights train now, and whatever mask there is is a past phase's
};

// The fixed batch for rankings that read gradients or inputs.
struct RankingBatch {
  at::Tensor x;
  std::function<at::Tensor(const at::Tensor& logits)> loss;  // mean [R], differentiable
};
// Whether the runs' rankings need one.
bool ranks_on_batch(const std::vector<ReadoutRun>& runs);

// Beside Model::linears(): uint8 [R,n], or undefined where a layer has no connections.
using LayerMasks = std::vector<at::Tensor>;
using LayerCounts = std::vector<std::vector<std::int64_t>>;  // likewise [R], or empty

// Each linear layer reads what the one before it writes, so that paths through the net are known.
bool is_chain(Model& model);

// The dormant weights of a group, whose runs agree in kind, hold values of their own.
bool dormant_carry_values(const std::vector<ReadoutRun>& runs);
// The run trains with a mask now.
bool has_mask(const ReadoutRun& run);
// What is active now comes before everything else in a ranking.
bool ranks_active_first(const ReadoutRun& run);

std::vector<double> trained_density(const std::vector<ReadoutRun>& runs);  // [R]
// Positions of each layer's budget at a density.
LayerCounts budget_counts(Model& model, const std::vector<ReadoutRun>& runs,
                          const std::vector<double>& density);
// [R] The sparse net at the density is the net as it is, whatever its spread over layers: its mask
// holds no more.
std::vector<char> own_nets(Model& model, const std::vector<ReadoutRun>& runs,
                           const std::vector<double>& density);
// Every replica keeps its own net, so that its sparse stream computes the read-out.
bool keeps_own_nets(Model& model, const std::vector<ReadoutRun>& runs,
                    const std::vector<double>& density);
// Masks, and what takes them, need weight values [R,in,out]: see DenseCopies. `batch` may be empty
// where !ranks_on_batch().
// The sparse nets at a density each.
LayerMasks readout_masks(Model& model, const std::vector<ReadoutRun>& runs,
                         const std::vector<double>& density, const RankingBatch& batch = {});
// The sparse nets at the trained density, as probes see them: where dormant weights are zero the
// current masks, whatever they hold.
LayerMasks trained_masks(Model& model, const std::vector<ReadoutRun>& runs,
                         const RankingBatch& batch = {});

// The counts[r] highest scores of each row, [R,n]; ties to the smaller index. What `first` (uint8
// [R,n]; undefined: all) has comes before everything else. uint8 [R,n].
at::Tensor ranked_mask(const at::Tensor& scores, const at::Tensor& first,
                       const std::vector<std::int64_t>& counts);

at::Tensor magnitudes(const Linear& layer);     // |w| of all positions, [R,n], no autograd
at::Tensor current_flags(const Linear& layer);  // active flags of all positions, uint8 [R,n]
LayerMasks current_masks(Model& model);         // of all layers

// Dense copies are made of so many positions at most, over layers and replicas.
constexpr std::int64_t kDenseCopyPositions = std::int64_t{1} << 27;
// What is too large in a model whose layers store less; empty: nothing is.
std::string too_large_to_copy(Model& model);
// The same of so many runs, from the layers that store less.
std::string too_large_to_copy(const std::vector<LayerShape>& layers, std::int64_t replicas);

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

// Weights outside of the masks become zero; what was there comes back by restore_weights.
std::vector<at::Tensor> mask_weights(Model& model, const LayerMasks& masks);
void restore_weights(Model& model, const std::vector<at::Tensor>& kept);

class MaskedWeights {
 public:
  MaskedWeights(Model& model, const LayerMasks& masks)
      : model_(model), kept_(mask_weights(model, masks)) {}
  ~MaskedWeights() { restore_weights(model_, kept_); }
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
                const std::vector<double>& density, const RankingBatch& batch = {});
  ~SparseReadout();
  SparseReadout(const SparseReadout&) = delete;
  SparseReadout& operator=(const SparseReadout&) = delete;

  StreamsWanted wanted() const {
    return kept_.empty() ? StreamsWanted::kSparse : StreamsWanted::kFull;
  }

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
