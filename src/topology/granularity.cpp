// This file finds the items and groups of a layer. Sums over a block are taken in one order, so
// that they have the same bits in any company and on any device.
#include "topology/granularity.h"

#include "data/tensor.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

std::int64_t length_of(const Granularity& granularity, std::int64_t inputs) {
  return granularity.kind == Granularity::Kind::kNm ? granularity.m : inputs;
}

// Sums `side` consecutive slices of a dimension.
at::Tensor sum_slices(const at::Tensor& x, std::int64_t dimension, std::int64_t side) {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  const auto at = sizes.begin() + dimension;
  *at /= side;
  sizes.insert(at + 1, side);
  const at::Tensor split = x.view(sizes);
  at::Tensor sum = split.select(dimension + 1, 0).clone();
  for (std::int64_t i = 1; i < side; ++i) sum.add_(split.select(dimension + 1, i));
  return sum;
}

}  // namespace

Grouping::Grouping(const Granularity& granularity, std::int64_t inputs, std::int64_t outputs)
    : granularity_(granularity),
      shape_{"", inputs, outputs, false},
      length_(length_of(granularity, inputs)) {}

at::Tensor Grouping::item_scores(const at::Tensor& scores, const at::Tensor& eligible) const {
  if (!has_blocks()) return scores;
  const std::int64_t side = granularity_.block;
  at::Tensor absolute = scores.abs();
  if (eligible.defined()) absolute = absolute.masked_fill(eligible.eq(0), 0);
  const at::Tensor squares = torch::constant_pad_nd(
      absolute.view({-1, shape_.inputs, shape_.outputs}),
      {0, (side - shape_.outputs % side) % side, 0, (side - shape_.inputs % side) % side}, 0);
  const at::Tensor sums = sum_slices(sum_slices(squares.contiguous(), 2, side), 1, side);
  return sums.reshape({scores.size(0), items()});
}

at::Tensor Grouping::item_flags(const at::Tensor& flags) const {
  if (!has_blocks()) return flags;
  const std::int64_t side = granularity_.block;
  return flags.view({-1, shape_.inputs, shape_.outputs})
      .slice(1, 0, shape_.inputs, side)
      .slice(2, 0, shape_.outputs, side)
      .reshape({flags.size(0), items()});
}

at::Tensor Grouping::position_flags(const at::Tensor& item_flags) const {
  if (!has_blocks()) return item_flags;
  const std::int64_t side = granularity_.block;
  const std::int64_t across = (shape_.outputs + side - 1) / side;
  return item_flags.view({item_flags.size(0), -1, across})
      .repeat_interleave(side, 1)
      .repeat_interleave(side, 2)
      .narrow(1, 0, shape_.inputs)
      .narrow(2, 0, shape_.outputs)
      .reshape({item_flags.size(0), shape_.positions()});
}

at::Tensor Grouping::choose(const at::Tensor& scores, const at::Tensor& eligible,
                            const std::vector<std::int64_t>& counts, bool largest) const {
  if (!has_blocks()) return select_rows(scores, eligible, counts, largest);
  const at::Tensor flags = eligible.defined() ? item_flags(eligible) : eligible;
  return position_flags(select_rows(item_scores(scores, eligible), flags, counts, largest));
}

at::Tensor Grouping::choose_random(const at::Tensor& eligible,
                                   const std::vector<std::int64_t>& counts,
                                   const std::vector<RandomStream>& streams,
                                   const std::vector<std::int64_t>& held) const {
  return position_flags(random_rows(item_flags(eligible), counts, streams, held));
}

at::Tensor Grouping::quotas(const std::vector<std::int64_t>& budgets) const {
  const auto rows = static_cast<std::int64_t>(budgets.size());
  std::vector<std::int64_t> own;
  if (granularity_.kind == Granularity::Kind::kFanIn) {
    for (const std::int64_t budget : budgets) own.push_back(budget / shape_.outputs);
    return torch::tensor(own, torch::kLong).unsqueeze(1).repeat({1, shape_.outputs});
  }
  for (std::int64_t first = 0; first < shape_.inputs; first += length_) {
    own.push_back(group_quota(granularity_, std::min(length_, shape_.inputs - first)));
  }
  return torch::tensor(own, torch::kLong)
      .view({1, groups_of_unit(), 1})
      .repeat({rows, 1, shape_.outputs})
      .view({rows, -1});
}

// Turns [Q,n] into [Q,groups of a unit,length,out], with zeros where the last group is shorter.
at::Tensor Grouping::grouped(const at::Tensor& rows) const {
  const at::Tensor weight = rows.reshape({rows.size(0), shape_.inputs, shape_.outputs});
  return torch::constant_pad_nd(weight, {0, 0, 0, padded() - shape_.inputs}, 0)
      .view({rows.size(0), groups_of_unit(), length_, shape_.outputs});
}

at::Tensor Grouping::grouped_flags(const at::Tensor& eligible, const at::Tensor& like) const {
  if (eligible.defined()) return grouped(eligible);
  if (padded() == shape_.inputs) return {};
  return grouped(torch::ones(like.sizes(), like.options().dtype(torch::kByte)));
}

at::Tensor Grouping::ungrouped(const at::Tensor& groups) const {
  return groups.reshape({groups.size(0), padded(), shape_.outputs})
      .narrow(1, 0, shape_.inputs)
      .reshape({groups.size(0), shape_.positions()});
}

at::Tensor Grouping::held(const at::Tensor& flags) const {
  return grouped(flags).sum(2, false, torch::kLong).view({flags.size(0), -1});
}

at::Tensor Grouping::choose_in_groups(const at::Tensor& scores, const at::Tensor& eligible,
                                      const at::Tensor& counts, bool largest) const {
  const at::Tensor flags = grouped_flags(eligible, scores);
  const at::Tensor own = counts.view({scores.size(0), groups_of_unit(), shape_.outputs});
  return ungrouped(select_groups(grouped(scores), flags, own, largest));
}

at::Tensor Grouping::random_in_groups(const at::Tensor& eligible, const at::Tensor& counts,
                                      const std::vector<RandomStream>& streams) const {
  const at::Tensor own = counts.view({eligible.size(0), groups_of_unit(), shape_.outputs});
  return ungrouped(random_groups(grouped(eligible), own, streams));
}

}  // namespace tandem
