// Sparse storage keeps only what exists: flat values [nnz] of all replicas, one index for the
// forward and one for the backward pass. What is stored is M, or, once a superset is chosen, B with
// a flag per value where it is larger than M; outside of it values are zero and slots at their
// newborn value. A step costs time and memory in proportion to what is stored; a topology update
// O(nnz + k log k), and for growth by gradient one pass over the dense gradient, block by block.
// CPU only.
//
// An update works on copies of a replica's values and slots (PendingTopology): drop and rank mark,
// grow inserts, and finish() removes what is not active, unless there is a superset, and builds the
// new index.
//
// Shapes: R replicas (runs of the group), nnz stored values of all replicas, N rows of a product,
// out the layer's outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "topology/connections.h"
#include "topology/initial_weights.h"
#include "topology/input_squares.h"
#include "topology/sparse_index.h"

namespace tandem {

class SparseConnections final : public Connections {
 public:
  // parameter.value is a leaf [total] with the values of positions[0], positions[1], ... (ascending
  // in each replica).
  SparseConnections(Parameter& parameter, std::int64_t inputs, std::int64_t outputs,
                    const std::vector<std::vector<std::int64_t>>& positions);
  // Says where a superset that is chosen before the first update takes the values of what isn't
  // stored.
  void set_initial(const InitialWeights& initial) { initial_ = initial; }

  std::int64_t active(std::int64_t replica) const override;
  std::vector<std::int64_t> segments() const override;
  TwoStreams product(const at::Tensor& x, const at::Tensor& bias,
                     const ProductPlan& plan) const override;
  at::Tensor active_flags() const override { return active_; }
  at::Tensor superset_flags() const override { return superset_; }  // ones
  ActiveSet active_set(std::int64_t replica) const override;
  ActiveSet superset(std::int64_t replica) const override;
  at::Tensor save_topology(std::int64_t replica) const override;
  void load_topology(std::int64_t replica, const at::Tensor& saved) override;
  void scale(std::int64_t replica, Start::InitScale kind) override;
  void expect_gradient(bool expected) override;
  void expect_inputs(bool expected) override { input_squares_.expect(expected); }
  void visit_scores(std::int64_t replica, const Criterion& criterion, Candidates candidates,
                    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>&
                        visit) const override;
  at::Tensor dense_values() const override;
  at::Tensor dense_flags() const override;
  bool is_dense() const override { return false; }
  at::Tensor stored_positions() const override;
  void rank(const TopologyChange& change, const Criterion& criterion, bool zero_dormant) override;
  void drop(const TopologyChange& change, const Criterion& criterion) override;
  void grow(const TopologyChange& change, const Criterion& criterion,
            const RegrowthInit& newborn) override;
  void choose_superset(const TopologyChange& change, bool random, bool outside_zero) override;
  void empty_dormant(const std::vector<char>& due) override;
  void finish(const TopologyChange& change, bool zero_dormant) override;

 private:
  friend class SparseProduct;

  ActiveSet stored_set(std::int64_t replica) const;

  // A PendingTopology is a replica's topology while an update is under way.
  struct PendingTopology {
    std::vector<std::int64_t> positions;      // ascending
    std::vector<std::uint8_t> active;         // 0: removed at the end, or stored and dormant
    std::vector<std::uint8_t> was;            // active before the update
    at::Tensor values;                        // [positions]
    std::map<std::string, at::Tensor> slots;  // [positions]
    std::int64_t active_count() const;
    std::vector<std::int64_t> active_positions() const;
    std::vector<std::int64_t> dropped_positions() const;  // active before this update, not any more
    at::Tensor held(const Parameter& parameter) const;    // Slot::holds, uint8 [positions]
    void keep_active();
  };
  struct Factors {  // the dense gradient's: x and dL/dy, [R,N,features] with columns adjacent
    at::Tensor x, dy;
  };

  PendingTopology& pending(std::int64_t replica,
                           const Criterion& criterion);  // the one under way, or a new one
  // Returns flags (uint8) of what is stored, in the update under way or now; null where all of it
  // is active.
  const std::uint8_t* active_of(std::int64_t replica) const;
  std::vector<std::int64_t> active_positions(std::int64_t replica) const;
  at::Tensor values_of(std::int64_t replica) const;
  ScoreInputs stored_inputs(std::int64_t replica, const Criterion& criterion) const;
  // Returns the criterion's scores of all positions, in the weights' dtype.
  at::Tensor topology_scores(std::int64_t replica, const Criterion& criterion,
                             std::uint64_t key) const;
  // Returns those of the active positions, in order; `active` are the flags of a pending topology.
  at::Tensor active_scores(std::int64_t replica, const Criterion& criterion,
                           const at::Tensor& active, std::uint64_t key) const;
  // `key` is as RegrowthInit::keys; it is read by what draws, or scores the topology.
  void visit_blocks(std::int64_t replica, const Criterion& criterion, Candidates candidates,
                    std::uint64_t key,
                    const std::function<void(const at::Tensor&, const at::Tensor&)>& visit) const;
  at::Tensor dense_gradient(std::int64_t replica, std::int64_t first_input,
                            std::int64_t inputs) const;  // [inputs,out]
  std::vector<std::int64_t> choose_growth(const TopologyChange& change, std::int64_t replica,
                                          const Criterion& criterion, std::uint64_t key) const;
  void insert(PendingTopology& pending, const std::vector<std::int64_t>& chosen,
              const RegrowthInit& newborn, std::uint64_t key) const;
  void move_values(PendingTopology& pending, std::vector<std::int64_t>& from,
                   std::vector<std::int64_t>& to, std::vector<std::int64_t>& born,
                   std::int64_t count) const;
  void draw_newborn(PendingTopology& pending, const std::vector<std::int64_t>& positions,
                    std::vector<std::int64_t>& born, const RegrowthInit& newborn,
                    std::uint64_t key) const;
  void replace(const std::map<std::int64_t, PendingTopology>& all_pending);
  at::Tensor flags_after(const std::map<std::int64_t, PendingTopology>& all_pending) const;
  at::Tensor running_flags(const at::Tensor& full_runs) const;
  void rescale(at::Tensor values, std::vector<std::int64_t> units, std::int64_t replica,
               Start::InitScale kind) const;
  at::Tensor initial_values(std::int64_t replica, const std::vector<std::int64_t>& positions) const;
  // These return the `count` dormant positions of largest |w| beside `active`, ascending, the
  // second by the initial draws.
  std::vector<std::int64_t> largest_dormant(std::int64_t replica,
                                            const std::vector<std::int64_t>& active,
                                            std::int64_t count) const;
  std::vector<std::int64_t> largest_initial(std::int64_t replica,
                                            const std::vector<std::int64_t>& active,
                                            std::int64_t count) const;
  // Makes a pending topology of what is stored of a replica, and newborns, at these positions, of
  // which `active` are active.
  PendingTopology stored_at(std::int64_t replica, std::vector<std::int64_t> positions,
                            const std::vector<std::int64_t>& active) const;

  std::vector<SparseIndex> index_;         // [R]
  at::Tensor active_;                      // uint8 [nnz]; undefined: all of what is stored
  at::Tensor superset_;                    // uint8 [nnz], all 1; undefined: there is none
  std::optional<InitialWeights> initial_;  // until the first change
  std::vector<Start::InitScale> scaled_;   // [R] how they are scaled
  std::map<std::int64_t, PendingTopology> pending_;
  bool expects_gradient_ = false;
  mutable InputSquares input_squares_;
  mutable std::vector<Factors> factors_;
};

}  // namespace tandem
