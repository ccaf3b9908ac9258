// Only what exists: flat values [nnz] of all replicas, one index for the forward and one for the
// backward pass, no mask. M = S = U is what is stored. A step costs time and memory in proportion
// to the connections; a topology update O(nnz + k log k), and for growth by gradient one pass over
// the dense gradient, block by block. CPU only.
//
// An update works on copies of a replica's values and slots (Draft): drop marks, grow inserts, and
// finish() removes what is marked and builds the new index.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "topology/connections.h"
#include "topology/sparse_index.h"

namespace tandem {

class SparseConnections final : public Connections {
 public:
  // parameter.value: leaf [total], the values of positions[0], positions[1], ... (ascending in
  // each replica); its `connections` is set. `parameter` must outlive this.
  SparseConnections(Parameter& parameter, std::int64_t inputs, std::int64_t outputs,
                    const std::vector<std::vector<std::int64_t>>& positions);

  std::int64_t replicas() const override { return static_cast<std::int64_t>(index_.size()); }
  std::int64_t positions() const override { return inputs_ * outputs_; }
  std::int64_t active(std::int64_t replica) const override;
  Parameter& parameter() override { return *parameter_; }
  std::vector<std::int64_t> segments() const override;
  TwoStreams product(const at::Tensor& x, const at::Tensor& bias,
                     const ProductPlan& plan) const override;
  at::Tensor active_flags() const override { return {}; }
  ActiveSet active_set(std::int64_t replica) const override;
  at::Tensor save_topology(std::int64_t replica) const override;
  void load_topology(std::int64_t replica, const at::Tensor& saved) override;
  void scale(std::int64_t replica, Start::InitScale kind) override;
  void expect_gradient(bool expected) override;
  void expect_inputs(bool expected) override { expects_inputs_ = expected; }
  void visit_scores(std::int64_t replica, const Criterion& criterion, Among among,
                    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>&
                        visit) const override;
  at::Tensor dense_values() const override;
  at::Tensor dense_flags() const override;
  bool is_dense() const override { return false; }
  void rank(const Change& change, const Criterion& criterion, bool zero_dormant) override;
  void drop(const Change& change, const Criterion& criterion) override;
  void grow(const Change& change, const Criterion& criterion, const Newborn& newborn) override;
  void choose_superset(const Change& change, bool random) override;
  void empty_dormant(const std::vector<char>& /*due*/) override {}  // nothing is stored there
  void finish(const Change& change, bool zero_dormant) override;

 private:
  friend class SparseProduct;

  // A replica in an update.
  struct Draft {
    std::vector<std::int64_t> positions;      // ascending
    std::vector<std::uint8_t> active;         // 0: dropped, removed at the end
    std::vector<std::uint8_t> was;            // active before the update
    at::Tensor values;                        // [positions]
    std::map<std::string, at::Tensor> slots;  // [positions]
    std::int64_t active_count() const;
    std::vector<std::int64_t> active_positions() const;
  };
  struct Factors {  // of the dense gradient: x and dL/dy, [R,N,features] with columns adjacent
    at::Tensor x, dy;
  };

  Draft& draft(std::int64_t replica,
               const Criterion& criterion);  // the one under way, or a new one
  at::Tensor values_of(std::int64_t replica) const;
  ScoreInputs stored_inputs(std::int64_t replica, const Criterion& criterion) const;
  // key: as Newborn::keys, read by what scores the topology.
  void visit_blocks(std::int64_t replica, const Criterion& criterion, Among among,
                    std::uint64_t key,
                    const std::function<void(const at::Tensor&, const at::Tensor&)>& visit) const;
  at::Tensor dense_gradient(std::int64_t replica, std::int64_t first_input,
                            std::int64_t inputs) const;  // [inputs,out]
  std::vector<std::int64_t> choose_growth(std::int64_t replica, std::int64_t count,
                                          const Criterion& criterion, std::uint64_t key) const;
  void insert(Draft& draft, const std::vector<std::int64_t>& chosen, const Newborn& newborn,
              std::uint64_t key) const;
  void replace(const std::map<std::int64_t, Draft>& drafts);

  Parameter* parameter_;
  std::int64_t inputs_, outputs_;
  std::vector<SparseIndex> index_;  // [R]
  std::map<std::int64_t, Draft> drafts_;
  bool expects_gradient_ = false, expects_inputs_ = false;
  mutable at::Tensor input_squares_;  // [R,in] of the last product that was to note them
  mutable std::vector<Factors> factors_;
};

}  // namespace tandem
