// Rankings over all layers: how many positions of each layer an operation of whole-net scope takes.
#include <algorithm>

#include "data/tensor.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"
#include "topology/topology_update.h"

namespace tandem {
namespace {

using Kind = TopologyOperation::Kind;

// Flags of the positions that an operation may take, given the active ones.
at::Tensor eligible_flags(Kind kind, const at::Tensor& active) {
  if (kind == Kind::kRank) return torch::ones_like(active);
  return kind == Kind::kGrow ? active.eq(0).to(torch::kByte) : active;
}

}  // namespace

TopologyUpdater::Counts TopologyUpdater::whole_net_counts(const Operation& operation,
                                                          const UpdateMoment& moment) const {
  Counts counts(layers_.size(), std::vector<std::int64_t>(replicas(), 0));
  for (std::size_t r = 0; r < replicas(); ++r) {
    if (!moment.due[r]) continue;
    Size sum;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (!changes(l)) continue;
      const Size one = size(l, r);
      sum.positions += one.positions;
      sum.active += one.active;
      sum.target += one.target;
      sum.moved += one.moved;
    }
    const double fraction = drop_fraction_at(rules_[r], moment.progress[r]);
    const auto shares = spread(operation, r, amount(operation, sum, fraction), moment.number[r]);
    for (std::size_t l = 0; l < layers_.size(); ++l) counts[l][r] = shares[l];
  }
  return counts;
}

std::vector<std::int64_t> TopologyUpdater::spread(const Operation& operation, std::size_t replica,
                                                  std::int64_t count, std::int64_t number) const {
  const Criterion& chosen_by = criterion(operation.criterion);
  std::vector<std::int64_t> shares(layers_.size(), 0), ends(layers_.size(), 0);
  if (chosen_by.random) {
    std::int64_t total = 0;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (changes(l)) {
        const Size one = size(l, replica);
        total += operation.kind == Kind::kRank   ? one.positions
                 : operation.kind == Kind::kGrow ? one.positions - one.active
                                                 : one.active;
      }
      ends[l] = total;
    }
    const std::uint64_t key =
        topology_key(run_keys_[replica], static_cast<std::int64_t>(layers_.size()), number);
    for (const std::int64_t rank : random_ranks(draw_stream(key, Draw::kSpread), total, count)) {
      ++shares[std::upper_bound(ends.begin(), ends.end(), rank) - ends.begin()];
    }
    return shares;
  }
  std::vector<at::Tensor> scores, eligible;
  std::vector<std::int64_t> sizes;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    sizes.push_back(0);
    if (!changes(l)) continue;
    sizes.back() = layers_[l]->positions();
    layers_[l]->visit_scores(static_cast<std::int64_t>(replica), chosen_by,
                             [&](std::int64_t, const at::Tensor& block, const at::Tensor& active) {
                               scores.push_back(block.clone());
                               eligible.push_back(eligible_flags(operation.kind, active).clone());
                             });
  }
  if (scores.empty()) return shares;
  const bool largest = operation.kind == Kind::kGrow || operation.kind == Kind::kRank;
  const at::Tensor chosen = select_rows(torch::cat(scores).unsqueeze(0),
                                        torch::cat(eligible).unsqueeze(0), {count}, largest)[0];
  const auto parts = chosen.split_with_sizes(sizes);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    shares[l] = parts[l].sum().item<std::int64_t>();
  }
  return shares;
}

}  // namespace tandem
