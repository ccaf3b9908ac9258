// A probe is something measured on a schedule, outside of the training step: it looks at a model
// over a fixed batch and draws from no run's random streams. One file per family; a file that
// registers itself adds a family.
//
// Kept mass and gap exist only where dormant weights carry values; elsewhere no row is written.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "nn/model.h"
#include "policy/policy.h"
#include "topology/active_set.h"
#include "topology/budgets.h"

namespace tandem {

struct ProbeRun {  // of one replica
  Config config;
  Policies attention, weights;
};

struct ProbeInput {
  Model& model;
  const std::vector<ProbeRun>& runs;  // [R]
  at::Tensor x;                       // fixed validation batch, as Model::forward takes it
  // Tasks's mean loss [R] of a context's forward pass on that batch and its targets.
  std::function<at::Tensor(const at::Tensor& logits)> loss;
  std::function<at::Tensor(const at::Tensor& logits)> accuracy;  // [R]
};

struct Measurement {
  std::string layer;  // "" = the whole net
  std::string name;   // as in MetricRow
  double value = 0;
};

// Per replica. A probe that a run has no use for (attention of an MLP) returns empty lists.
using Measurements = std::vector<std::vector<Measurement>>;

class Probe {
 public:
  virtual ~Probe() = default;
  virtual Measurements measure(const ProbeInput& input) = 0;
  // It reads weight values [R,in,out]: measure() is called while DenseCopies (readout.h) stand in
  // for layers that store less, and not at all where these are too large.
  virtual bool reads_dense_weights() const { return false; }
  // Called after every topology update with what is active in a layer before it and after it, for
  // probes with a memory (coverage, churn, survival). Default: nothing.
  virtual void after_update(std::int64_t /*replica*/, const std::string& /*layer*/,
                            const ActiveSet& /*before*/, const ActiveSet& /*after*/) {}
  virtual bool watches_updates() const { return false; }
  // A memory that a checkpoint keeps, per replica, as named integer lists.
  virtual std::vector<std::pair<std::string, std::vector<std::int64_t>>> save(
      std::int64_t /*replica*/) const {
    return {};
  }
  virtual void load(std::int64_t /*replica*/, const std::string& /*name*/,
                    const std::vector<std::int64_t>& /*values*/) {}
};

using ProbeFactory = std::unique_ptr<Probe> (*)(const std::vector<ProbeRun>& runs);
Registry<ProbeFactory>& probes();  // kind "probe"

// Mask of the `active` largest magnitudes of each replica's weights, ties to the smaller index; the
// currently active positions come first where `active_first`. uint8 [R,n].
at::Tensor readout_mask(const Linear& layer, const std::vector<std::int64_t>& active,
                        bool active_first);

class DenseCopies;  // readout.h

// While it lives, the model is ready for a sparse read-out at the given density per replica (spread
// over layers by the runs' own budget) in one product, that of view(): its linear layers hold their
// weights masked, or, where every replica keeps its own net, everything is as it was.
class SparseReadout {
 public:
  SparseReadout(Model& model, const std::vector<ProbeRun>& runs,
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

}  // namespace tandem
