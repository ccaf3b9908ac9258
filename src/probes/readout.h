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

#include "probes/probe.h"

namespace tandem {

// Beside Model::linears(): uint8 [R,n], or undefined where a layer has no connections.
using LayerMasks = std::vector<at::Tensor>;
using LayerCounts = std::vector<std::vector<std::int64_t>>;  // likewise [R], or empty

// Each linear layer reads what the one before it writes, so that paths through the net are known.
bool is_chain(Model& model);

// Of a group, whose runs agree in kind.
bool dormant_carry_values(const std::vector<ProbeRun>& runs);
bool ranks_active_first(const std::vector<ProbeRun>& runs);

std::vector<double> trained_density(const std::vector<ProbeRun>& runs);  // [R]
// Connections that a read-out keeps. Ranked active first, a net within its budget stays as it is.
LayerCounts readout_counts(Model& model, const std::vector<ProbeRun>& runs,
                           const std::vector<double>& density);
// Whether that is the own net of every replica, which its sparse stream computes as it is.
bool keeps_own_nets(Model& model, const std::vector<ProbeRun>& runs,
                    const std::vector<double>& density);
// Masks, and what takes them, need weight values [R,in,out]: see DenseCopies.
// granularity: of the trained net, where counts are those of its own density.
LayerMasks readout_masks(Model& model, const LayerCounts& counts, bool active_first,
                         const Granularity& granularity = {});
LayerMasks trained_masks(Model& model, const std::vector<ProbeRun>& runs);

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

// Throws ConfigError where copies would be too large and the runs ask for what reads them: probes
// inside of training, read-outs at other budgets (`curve`), or a net that starts above its budget.
// To be called before the first step.
void check_dense_readers(Model& model, const std::vector<ProbeRun>& runs, bool curve);

// The context of a forward pass through the stream that each level trains; full where both are.
Context trained_context(const std::vector<ProbeRun>& runs);

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
