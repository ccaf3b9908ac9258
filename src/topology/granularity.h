// A granularity says what is active or dormant as one, over a layer's weight [in,out] with position
// i * out + o.
//   element  every position by itself
//   fan_in   every unit (column o) has the same number of active inputs
//   n_m      of each m consecutive inputs of a unit n are active
//   block    squares of positions are active or dormant together; those at the edges may be partial
// So there are *items*, which are chosen (positions, or blocks scored by the sum of |score| over
// their eligible positions), and under fan_in and n_m *groups* of a unit's consecutive inputs, each
// with a quota of its own. One code serves all: choose() takes the best items of a whole layer,
// choose_in_groups() the best of each group. Ties go to the smaller index, NaN comes last, and what
// is random is keyed by (run, layer, update, group).
//
// Shapes: Q rows, each of one replica and layer, n positions of a layer, in and out its inputs and
// outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "policy/policy.h"
#include "topology/budgets.h"
#include "topology/random_ranks.h"

namespace tandem {

class Grouping {
 public:
  Grouping(const Granularity& granularity, std::int64_t inputs, std::int64_t outputs);

  const Granularity& granularity() const { return granularity_; }
  bool has_blocks() const { return granularity_.kind == Granularity::Kind::kBlock; }
  bool has_quotas() const {
    return granularity_.kind == Granularity::Kind::kFanIn ||
           granularity_.kind == Granularity::Kind::kNm;
  }
  bool by_element() const { return granularity_.kind == Granularity::Kind::kElement; }
  std::int64_t items() const { return item_count(shape_, granularity_); }

  // These go from positions [Q,n] to items [Q,items] and back, and return the same tensors where an
  // item is a position. `eligible` is undefined where all are. Flags are those of whole items.
  at::Tensor item_scores(const at::Tensor& scores, const at::Tensor& eligible) const;
  at::Tensor item_flags(const at::Tensor& flags) const;
  at::Tensor position_flags(const at::Tensor& item_flags) const;

  // These do what select_rows and random_rows do, with counts of items and flags of positions.
  at::Tensor choose(const at::Tensor& scores, const at::Tensor& eligible,
                    const std::vector<std::int64_t>& counts, bool largest) const;
  at::Tensor choose_random(const at::Tensor& eligible, const std::vector<std::int64_t>& counts,
                           const std::vector<RandomStream>& streams,
                           const std::vector<std::int64_t>& held = {}) const;

  // Group g of unit o is entry g * out + o of [Q,groups]. quotas() are those of budgets [Q] in
  // positions, on the CPU; held() is how many of the flags [Q,n] are set, on their device.
  at::Tensor quotas(const std::vector<std::int64_t>& budgets) const;
  at::Tensor held(const at::Tensor& flags) const;
  // `counts` are [Q,groups], on any device; no group may have fewer eligible positions.
  at::Tensor choose_in_groups(const at::Tensor& scores, const at::Tensor& eligible,
                              const at::Tensor& counts, bool largest) const;
  at::Tensor random_in_groups(const at::Tensor& eligible, const at::Tensor& counts,
                              const std::vector<RandomStream>& streams) const;  // [Q]

 private:
  std::int64_t groups_of_unit() const { return (shape_.inputs + length_ - 1) / length_; }
  std::int64_t padded() const { return groups_of_unit() * length_; }
  at::Tensor grouped(const at::Tensor& rows) const;
  at::Tensor grouped_flags(const at::Tensor& eligible, const at::Tensor& like) const;
  at::Tensor ungrouped(const at::Tensor& groups) const;

  Granularity granularity_;
  LayerShape shape_;
  std::int64_t length_;  // inputs of a group
};

// Returns the quotas of units under SRigL's ablation (Lasby et al. 2023), int64 [Q,out] on the CPU,
// from their numbers of salient weights. A unit with fewer than share x fan-in of these has quota
// 0, where the fan-in is that of the layer's budget over all units; the others have budget / (their
// number) each, rounded down. As many stay as the budget needs at the largest fan-in, the most
// salient ones.
at::Tensor quotas_after_ablation(const at::Tensor& salient,
                                 const std::vector<std::int64_t>& budgets, std::int64_t inputs,
                                 double share);

}  // namespace tandem
