// Masked storage keeps all weights W [R,in,out] and a mask M, uint8 [R,in*out]. It serves every
// method and device. A topology update is a sequence of drop, grow and rank calls, then finish();
// until then values of what was dropped stay, so that what is regrown can keep them. On a CPU only
// rows of replicas that are due are touched.
//
// Shapes: R replicas (runs of the group), in and out the layer's inputs and outputs, n = in * out
// positions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "topology/connections.h"
#include "topology/granularity.h"
#include "topology/input_squares.h"

namespace tandem {

enum class Draw : std::uint64_t;  // random_ranks.h

class MaskedConnections final : public Connections {
 public:
  // `parameter` must lie on its device already and hold a leaf [R,in,out]. `mask` is uint8 of
  // R*in*out elements; where it is undefined all weights are active, and the mask takes no memory
  // until the first change.
  MaskedConnections(Parameter& parameter, const at::Tensor& mask);

  // From now on W is zero outside M (values there are cleared), so that the sparse product needs no
  // mask. Whoever changes W must keep it so.
  void set_zero_dormant(bool zero_dormant);
  bool zero_dormant() const { return zero_dormant_; }
  // Sets a superset that was chosen elsewhere, uint8 [R,in*out].
  void set_superset(const at::Tensor& flags) { superset_ = flags; }
  // Sets what updates choose as one. It must be called before the first update, with a mask that
  // the granularity can hold.
  void set_granularity(const Granularity& granularity);

  std::int64_t active(std::int64_t replica) const override { return active_.at(replica); }
  std::int64_t items() const override { return grouping_.items(); }
  std::int64_t active_items(std::int64_t replica) const override {
    return grouping_.has_blocks() ? blocks_.at(replica) : active(replica);
  }
  TwoStreams product(const at::Tensor& x, const at::Tensor& bias,
                     const ProductPlan& plan) const override;
  at::Tensor active_flags() const override;
  at::Tensor superset_flags() const override;
  // Returns how many of the nested masks hold a position, uint8 [R,in*out]; it is undefined where
  // there are none.
  const at::Tensor& nested_depth() const { return nested_; }
  ActiveSet active_set(std::int64_t replica) const override;  // as bits
  std::vector<ActiveSet> active_sets(const std::vector<char>& wanted) const override;
  ActiveSet superset(std::int64_t replica) const override;
  at::Tensor save_topology(std::int64_t replica) const override;
  void load_topology(std::int64_t replica, const at::Tensor& saved) override;
  void scale(std::int64_t replica, Start::InitScale kind) override;
  void expect_gradient(bool /*expected*/) override {}  // autograd's is dense in any case
  void expect_inputs(bool expected) override { input_squares_.expect(expected); }
  void visit_scores(std::int64_t replica, const Criterion& criterion, Candidates candidates,
                    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>&
                        visit) const override;
  at::Tensor dense_values() const override { return parameter().value.detach(); }  // no copy
  at::Tensor dense_flags() const override;
  bool is_dense() const override { return true; }
  at::Tensor stored_positions() const override { return {}; }
  void rank(const TopologyChange& change, const Criterion& criterion, bool zero_dormant) override;
  void drop(const TopologyChange& change, const Criterion& criterion) override;
  void grow(const TopologyChange& change, const Criterion& criterion,
            const RegrowthInit& newborn) override;
  void choose_superset(const TopologyChange& change, bool random, bool outside_zero) override;
  void choose_nested(const std::vector<char>& due,
                     const std::vector<std::vector<std::int64_t>>& counts) override;
  void empty_dormant(const std::vector<char>& due) override;
  void finish(const TopologyChange& change, bool zero_dormant) override;

 private:
  struct Rows {  // consecutive replicas that are due
    std::int64_t first, length;
    at::Tensor of(const at::Tensor& per_replica) const {
      return per_replica.narrow(0, first, length);
    }
    template <class T>
    std::vector<T> of(const std::vector<T>& per_replica) const {
      return {per_replica.begin() + first, per_replica.begin() + first + length};
    }
  };

  bool all_active() const;
  std::vector<std::uint8_t> packed(const at::Tensor& flags, std::int64_t replica) const;
  at::Tensor affine(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                    const ProductPlan& plan, at::Tensor& local) const;
  at::Tensor full_weight(const ProductPlan& plan) const;
  at::Tensor sparse_weight(const ProductPlan& plan) const;
  at::Tensor selected_weight(const ProductPlan& plan) const;
  at::Tensor nested_mask(const at::Tensor& draw) const;
  at::Tensor flags_among(std::int64_t replica, Candidates candidates) const;
  std::vector<Rows> due_rows(const std::vector<char>& due) const;
  at::Tensor values() const;  // [R,n]
  void allocate_mask();
  void open(const Rows& rows);
  void open(std::int64_t replica);
  ScoreInputs score_inputs(const Criterion& criterion, const Rows& rows) const;
  at::Tensor scores(const Criterion& criterion, const Rows& rows,
                    const std::vector<std::uint64_t>& keys) const;
  at::Tensor topology_scores(const Criterion& criterion, const Rows& rows,
                             const std::vector<std::uint64_t>& keys) const;
  at::Tensor choice_scores(const TopologyChange& change, const Criterion& criterion,
                           const Rows& rows, const at::Tensor& eligible,
                           const std::vector<std::uint64_t>& keys, Draw draw) const;
  void empty(const at::Tensor& rows_left, const Rows& rows);
  at::Tensor select(const TopologyChange& change, const Criterion& criterion, const Rows& rows,
                    const at::Tensor& eligible, const std::vector<std::uint64_t>& keys, Draw draw,
                    bool largest) const;
  at::Tensor select_per_sign(const TopologyChange& change, const Criterion& criterion,
                             const Rows& rows, const at::Tensor& eligible) const;
  at::Tensor select_in_groups(const TopologyChange& change, const Criterion& criterion,
                              const Rows& rows, const at::Tensor& eligible,
                              const at::Tensor& counts, const std::vector<std::uint64_t>& keys,
                              Draw draw, bool largest) const;
  at::Tensor movable(const at::Tensor& flags, const Rows& rows) const;
  at::Tensor select_held_first(TopologyChange change, const Criterion& criterion, const Rows& rows,
                               const at::Tensor& eligible) const;
  at::Tensor select_moved(TopologyChange change, const Criterion& criterion, const Rows& rows,
                          const std::vector<std::uint64_t>& keys, bool grows) const;
  at::Tensor ablate_and_select(const TopologyChange& change, const Criterion& criterion,
                               const Rows& rows, const std::vector<std::uint64_t>& keys);
  void note_active(const Rows& rows, const std::vector<std::int64_t>& items);
  void recount(const Rows& rows);
  std::int64_t rankable(std::int64_t replica) const;
  void give_birth(const Rows& rows, const at::Tensor& born, const RegrowthInit& newborn);
  void clear_left(const Rows& rows);

  at::Tensor mask_;            // uint8 [R,n]; undefined: all active
  at::Tensor superset_;        // uint8 [R,n]; undefined: there is none
  bool outside_zero_ = false;  // values and slots are newborn outside the superset
  at::Tensor nested_;          // uint8 [R,n], see nested_depth()
  std::int64_t nested_masks_ = 0;
  mutable InputSquares input_squares_;
  at::Tensor history_;  // uint8 [R,n], all 0 between updates: 1 was active before, 2 entered since
  std::vector<char> open_;            // [R] an update has begun
  std::vector<std::int64_t> active_;  // [R]
  Grouping grouping_;
  std::vector<std::int64_t> blocks_;  // [R] active ones, where items are blocks
  std::vector<std::int64_t> budget_;  // [R] positions, where groups have quotas
  bool zero_dormant_ = false;
};

}  // namespace tandem
