// Connections are those of a linear layer, whatever their storage. Methods, optimizers, strategies
// and checkpoints ask these questions only: the product; scores visited block by block; drop k by a
// score; grow k by a score or at random; the active values and their slots (through Parameter).
//
// Shapes: R replicas (runs of the group), N rows of a product, in and out the layer's inputs and
// outputs, m positions of a stretch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "policy/policy.h"
#include "topology/active_set.h"
#include "topology/criteria.h"
#include "topology/parameter.h"

namespace tandem {

// A ProductPlan says how a product is computed; StreamsWanted in nn/context.h maps onto it.
struct ProductPlan {
  bool full = true, sparse = false;  // outputs wanted
  bool selected = false;             // one output: per replica W where full_runs, M*W elsewhere
  at::Tensor full_runs;              // bool [R], with selected
  bool mask_gradient = false;        // gradient of the sparse product reaches active weights only
  bool superset = false;             // the full output is computed with B instead of everything
  at::Tensor nested;                 // int64 [R]: the nested mask that stands for M; undefined: M
  bool detached = false;  // full and sparse: TwoStreams::full_local, sparse_local as well
  bool relu = false;      // one output: relu(y) is wanted and y itself is not
};

struct TwoStreams {
  at::Tensor full, sparse;  // [R,N,out]; undefined where not asked for. selected: in full
  // These have the same values, but their gradient reaches weights and bias and not x.
  at::Tensor full_local, sparse_local;
};

// A TopologyChange says what a topology update does to one layer, per replica. Entries of replicas
// that are not due are 0 or ignored.
struct TopologyChange {
  std::vector<char> due;                 // [R]
  std::vector<std::int64_t> count;       // [R] how many to drop or grow, or the new active count
  std::vector<std::uint64_t> keys = {};  // [R] as RegrowthInit::keys; read by random criteria
  std::vector<std::int64_t> negatives =
      {};                         // [R] per-sign criteria: how many of count are negative
  bool prunes = false;            // a drop for good: what is left is the layer's budget from now on
  bool excludes_dropped = false;  // a growth passes over what this update dropped
  // [R] What is taken (grown, or not dropped) is drawn without replacement in proportion to
  // score^sharpness. Where it is empty, positions are taken in order of their scores.
  std::vector<double> sharpness = {};
};

// A RegrowthInit says how the weights that an update makes active are treated.
struct RegrowthInit {
  double deviation = 0;             // 0: value zero, else normal draws
  bool keep_regrown = true;         // a position dropped in this update keeps its value and slots
  std::vector<std::uint64_t> keys;  // [R] random stream of this (run, layer, update)
  bool stale = false;               // the newborn resume the values they hold
};

// This says which positions an operation chooses among.
enum class Candidates { kAll, kActive, kInactive };

// What computes with the weights: a layer's forward and backward passes, and the optimizer's step.
class LayerProduct {
 public:
  virtual ~LayerProduct() = default;

  // Computes y = x W_eff + b; bias may be undefined.
  virtual TwoStreams product(const at::Tensor& x, const at::Tensor& bias,
                             const ProductPlan& plan) const = 0;
  // Returns active flags, uint8 [total] beside Parameter::flat(); they are undefined where
  // everything there is active.
  virtual at::Tensor active_flags() const = 0;
  // Returns the superset B in the same form; it is undefined where there is none.
  virtual at::Tensor superset_flags() const = 0;
  // The next backward passes keep what a criterion needs to read the dense gradient, until this is
  // called with false. If it is called with true again, the passes from then on add up.
  virtual void expect_gradient(bool expected) = 0;
  // The next products keep the mean squares of the layer's inputs likewise; if this is called
  // again, their mean over the passes.
  virtual void expect_inputs(bool expected) = 0;
};

// What is connected, and how updates change it. An update is a sequence of rank, drop and grow,
// then finish(). What a slot of the parameter holds (Slot::holds) is active and stays so: no drop
// takes it, and it comes before everything else in a rank.
class Topology {
 public:
  virtual ~Topology() = default;

  virtual std::int64_t active(std::int64_t replica) const = 0;
  // Items are what the topology chooses as one: positions, or blocks of them. The counts of a
  // TopologyChange and the scores of visit_scores() are those of items.
  virtual std::int64_t items() const = 0;
  virtual std::int64_t active_items(std::int64_t replica) const = 0;
  virtual ActiveSet active_set(std::int64_t replica) const = 0;
  // Returns the active sets of the replicas that are wanted [R], and empty ones for the others.
  virtual std::vector<ActiveSet> active_sets(const std::vector<char>& wanted) const;
  // Returns the superset B; it is not known() where there is none.
  virtual ActiveSet superset(std::int64_t replica) const = 0;

  // Returns a replica's topology as a tensor for checkpoints (saved_topology.h); it is undefined
  // where everything is active and has been from the start. Loading may resize the parameter and
  // its slots, so that values are loaded after it.
  virtual at::Tensor save_topology(std::int64_t replica) const = 0;
  virtual void load_topology(std::int64_t replica, const at::Tensor& saved) = 0;

  // Calls visit(scores [m], flags uint8 [m]) over consecutive stretches of a replica's items, in
  // order. What is not among the candidates is flagged 0 or left out; undefined flags: all are.
  // What is not stored has the criterion's score of a zero weight.
  virtual void visit_scores(std::int64_t replica, const Criterion& criterion, Candidates candidates,
                            const std::function<void(const at::Tensor& scores,
                                                     const at::Tensor& flags)>& visit) const = 0;

  // Makes the count[r] positions with the highest scores of all (active or not) the new mask.
  virtual void rank(const TopologyChange& change, const Criterion& criterion,
                    bool zero_dormant) = 0;
  // Drops the count[r] active positions with the lowest scores and remembers them until finish().
  virtual void drop(const TopologyChange& change, const Criterion& criterion) = 0;
  // Grows count[r] positions among all that are not active now (just dropped ones included).
  virtual void grow(const TopologyChange& change, const Criterion& criterion,
                    const RegrowthInit& newborn) = 0;
  // Makes B of M and, up to count[r] positions in all, the largest |w| of the others, or others at
  // random. With outside_zero the values and slots of what leaves B are cleared.
  virtual void choose_superset(const TopologyChange& change, bool random, bool outside_zero) = 0;
  // Chooses the nested masks of the replicas that are due: mask i has the counts[i][r] active
  // weights of largest |w|, and counts descend in i. Throws ConfigError where the storage has no
  // such masks.
  virtual void choose_nested(const std::vector<char>& due,
                             const std::vector<std::vector<std::int64_t>>& counts);
  // Values and slots of the replicas that are due become zero outside M.
  virtual void empty_dormant(const std::vector<char>& due) = 0;
  // Ends an update: values and slots of what left the topology are cleared where zero_dormant.
  virtual void finish(const TopologyChange& change, bool zero_dormant) = 0;
};

// Copies for what reads a whole layer outside of a step (probes, read-outs at other budgets).
class DenseCopy {
 public:
  virtual ~DenseCopy() = default;

  // Returns values [R,in,out] with zeros where nothing is stored, and active flags, uint8
  // [R,in*out].
  virtual at::Tensor dense_values() const = 0;
  virtual at::Tensor dense_flags() const = 0;
  // Says that values are [R,in,out] already, so that such readers may use the parameter itself.
  virtual bool is_dense() const = 0;
  // Returns the position of each stored value in its replica's layer, int64 [total] beside
  // Parameter::flat(); it is undefined where is_dense().
  virtual at::Tensor stored_positions() const = 0;
};

class Connections : public LayerProduct, public Topology, public DenseCopy {
 public:
  // `parameter` must outlive them; its `connections` is set.
  Connections(Parameter& parameter, std::int64_t replicas, std::int64_t inputs,
              std::int64_t outputs);

  std::int64_t replicas() const { return replicas_; }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::int64_t positions() const { return inputs_ * outputs_; }
  Parameter& parameter() const { return *parameter_; }
  // Returns [R+1] offsets into Parameter::flat().
  virtual std::vector<std::int64_t> segments() const;

  std::int64_t items() const override { return positions(); }
  std::int64_t active_items(std::int64_t replica) const override { return active(replica); }
  // Returns how many of a replica's active positions no update may take away (Slot::holds).
  std::int64_t held(std::int64_t replica) const;

  // Scales the initial weights of a sparse layer in place (Evci et al. 2022): by each unit's own
  // fan-in, w sqrt(inputs / fan-in), or by the density, w / sqrt(density).
  virtual void scale(std::int64_t replica, Start::InitScale kind) = 0;

 private:
  Parameter* parameter_;
  std::int64_t replicas_, inputs_, outputs_;
};

}  // namespace tandem
