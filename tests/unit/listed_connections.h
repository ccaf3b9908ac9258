// Connections that store values at listed positions only, and answer no more than tests of their
// users ask. What is large about them is only said.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "data/tensor.h"
#include "topology/connections.h"

namespace tandem {

class ListedConnections : public Connections {
 public:
  // listed[r]: ascending positions; parameter.value becomes a leaf [total] of zeros.
  ListedConnections(Parameter& parameter, std::int64_t inputs, std::int64_t outputs,
                    std::vector<std::vector<std::int64_t>> listed)
      : Connections(parameter, static_cast<std::int64_t>(listed.size()), inputs, outputs),
        listed_(std::move(listed)) {
    parameter.value = torch::zeros({segments().back()}, torch::kDouble).requires_grad_(true);
  }

  std::int64_t active(std::int64_t r) const override {
    return static_cast<std::int64_t>(listed_.at(static_cast<std::size_t>(r)).size());
  }
  std::vector<std::int64_t> segments() const override {
    std::vector<std::int64_t> offsets = {0};
    for (const auto& own : listed_) {
      offsets.push_back(offsets.back() + static_cast<std::int64_t>(own.size()));
    }
    return offsets;
  }
  TwoStreams product(const at::Tensor& x, const at::Tensor&,
                     const ProductPlan& plan) const override {
    TwoStreams y;
    (plan.sparse ? y.sparse : y.full) = torch::bmm(x, scattered(parameter().value.detach()));
    return y;
  }
  at::Tensor active_flags() const override { return {}; }
  at::Tensor superset_flags() const override { return {}; }
  ActiveSet superset(std::int64_t) const override { return {}; }
  ActiveSet active_set(std::int64_t r) const override {
    return ActiveSet::of_positions(listed_.at(static_cast<std::size_t>(r)));
  }
  at::Tensor save_topology(std::int64_t) const override { refuse(); }
  void load_topology(std::int64_t, const at::Tensor&) override { refuse(); }
  void scale(std::int64_t, Start::InitScale) override { refuse(); }
  void expect_gradient(bool expected) override { expectations.push_back(expected); }
  void expect_inputs(bool) override {}
  void choose_superset(const TopologyChange&, bool, bool) override { refuse(); }
  void empty_dormant(const std::vector<char>&) override { refuse(); }
  void visit_scores(
      std::int64_t, const Criterion&, Candidates,
      const std::function<void(const at::Tensor&, const at::Tensor&)>&) const override {
    refuse();
  }
  at::Tensor dense_values() const override {
    ++copies;
    return scattered(parameter().value.detach());
  }
  at::Tensor dense_flags() const override {
    return scattered(torch::ones({segments().back()}, torch::kByte)).view({replicas(), -1});
  }
  bool is_dense() const override { return false; }
  at::Tensor stored_positions() const override { return {}; }
  void rank(const TopologyChange&, const Criterion&, bool) override { refuse(); }
  void drop(const TopologyChange&, const Criterion&) override { refuse(); }
  void grow(const TopologyChange&, const Criterion&, const RegrowthInit&) override { refuse(); }
  void finish(const TopologyChange&, bool) override { refuse(); }

  std::vector<bool> expectations;  // what expect_gradient() was called with
  mutable int copies = 0;          // how often dense_values() was called

 private:
  [[noreturn]] static void refuse() { throw std::logic_error("not a question for this storage"); }
  at::Tensor scattered(const at::Tensor& flat) const {  // [R,in,out]
    at::Tensor dense = torch::zeros({replicas(), positions()}, flat.options());
    const auto offsets = segments();
    for (std::int64_t r = 0; r < replicas(); ++r) {
      dense[r].index_put_({torch::tensor(listed_[r], torch::kLong)},
                          flat.slice(0, offsets[r], offsets[r + 1]));
    }
    return dense.view({replicas(), inputs(), outputs()});
  }

  std::vector<std::vector<std::int64_t>> listed_;
};

}  // namespace tandem
