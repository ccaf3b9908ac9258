// An operation of whole-net scope ranks all layers together; this file counts how many positions of
// each layer it takes.
#include <algorithm>
#include <cmath>
#include <functional>

#include "data/tensor.h"
#include "kernels/select/stream.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"
#include "topology/topology_update.h"

namespace tandem {
namespace {

using Kind = TopologyOperation::Kind;

Candidates among_of(Kind kind) {
  if (kind == Kind::kRank) return Candidates::kAll;
  return kind == Kind::kGrow || kind == Kind::kGrowTo ? Candidates::kInactive : Candidates::kActive;
}

using VisitBlock = std::function<void(const at::Tensor& scores, const at::Tensor& flags)>;
using VisitLayer = std::function<void(std::size_t layer, const VisitBlock& visit)>;

// Counts how many of the `count` best lie in each layer, in one pass that keeps about 2 count
// scores.
template <class T>
std::vector<std::int64_t> streamed_shares(std::size_t layers, const VisitLayer& visit_layer,
                                          std::int64_t count, bool largest) {
  TopStream<T> stream(count, largest);
  std::vector<std::int64_t> begins = {0};
  for (std::size_t l = 0; l < layers; ++l) {
    std::int64_t next = begins.back();
    visit_layer(l, [&](const at::Tensor& block, const at::Tensor& among) {
      const at::Tensor scores = block.to(torch::CppTypeToScalarType<T>::value).contiguous();
      const at::Tensor flags = among.defined() ? among.contiguous() : among;
      const int error =
          stream.add(next, scores.data_ptr<T>(),
                     flags.defined() ? flags.data_ptr<std::uint8_t>() : nullptr, scores.numel());
      TORCH_INTERNAL_ASSERT(error == kSelectDone, "offering scores failed with code ", error);
      next += scores.numel();
    });
    begins.push_back(next);
  }
  std::vector<std::int64_t> chosen;
  const int error = stream.finish(chosen);
  TORCH_INTERNAL_ASSERT(error == kSelectDone, "choosing ", count, " positions of ", begins.back(),
                        " failed with code ", error);
  std::vector<std::int64_t> shares;
  auto from = chosen.begin();
  for (std::size_t l = 0; l < layers; ++l) {
    const auto to = std::lower_bound(from, chosen.end(), begins[l + 1]);
    shares.push_back(to - from);
    from = to;
  }
  return shares;
}

// Does the same on a GPU, where the scores of all layers stay side by side.
std::vector<std::int64_t> selected_shares(std::size_t layers, const VisitLayer& visit_layer,
                                          std::int64_t count, bool largest) {
  std::vector<at::Tensor> scores, eligible;
  std::vector<std::int64_t> sizes(layers, 0);
  for (std::size_t l = 0; l < layers; ++l) {
    visit_layer(l, [&](const at::Tensor& block, const at::Tensor& among) {
      scores.push_back(block.clone());
      eligible.push_back(among.defined()
                             ? among.clone()
                             : torch::ones(block.sizes(), block.options().dtype(torch::kByte)));
      sizes[l] += block.numel();
    });
  }
  const at::Tensor chosen = select_rows(torch::cat(scores).unsqueeze(0),
                                        torch::cat(eligible).unsqueeze(0), {count}, largest)[0];
  const auto parts = chosen.split_with_sizes(sizes);
  std::vector<std::int64_t> shares;
  for (const at::Tensor& part : parts) shares.push_back(part.sum().item<std::int64_t>());
  return shares;
}

}  // namespace

TopologyUpdater::Counts TopologyUpdater::whole_net_counts(const Operation& operation,
                                                          const Criterion& chosen,
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
    const auto shares =
        spread(operation, chosen, r, amount(operation, sum, fraction), moment.number[r]);
    for (std::size_t l = 0; l < layers_.size(); ++l) counts[l][r] = shares[l];
  }
  return counts;
}

std::vector<std::int64_t> TopologyUpdater::spread(const Operation& operation,
                                                  const Criterion& chosen_by, std::size_t replica,
                                                  std::int64_t count, std::int64_t number) const {
  if (chosen_by.random) return spread_at_random(operation, replica, count, number);
  if (count == 0) return std::vector<std::int64_t>(layers_.size(), 0);
  const VisitLayer visit_layer = [&](std::size_t l, const VisitBlock& visit) {
    if (!changes(l)) return;
    layers_[l]->visit_scores(static_cast<std::int64_t>(replica), chosen_by,
                             among_of(operation.kind), visit);
  };
  const bool largest = among_of(operation.kind) != Candidates::kActive;
  std::size_t first = 0;
  while (!changes(first)) ++first;  // some layer does: count is not 0
  const at::Tensor& values = layers_[first]->parameter().value;
  if (values.is_cuda()) return selected_shares(layers_.size(), visit_layer, count, largest);
  return values.scalar_type() == torch::kDouble
             ? streamed_shares<double>(layers_.size(), visit_layer, count, largest)
             : streamed_shares<float>(layers_.size(), visit_layer, count, largest);
}

// Weighs layers by the mean |averaged gradient| over the active weights before the update: where
// the average is large, more weights would pay (Dettmers & Zettlemoyer 2019).
void TopologyUpdater::weigh_layers(const UpdateMoment& moment) {
  layer_weight_.assign(layers_.size(), std::vector<double>(replicas(), 0));
  if (rules_.front().redistribution == TopologyRule::Redistribution::kNone) return;
  const Criterion& average = criteria_.back();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    for (std::size_t r = 0; changes(l) && r < replicas(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      if (!moment.due[r] || layers_[l]->active(replica) == 0) continue;
      double sum = 0;
      layers_[l]->visit_scores(replica, average, Candidates::kActive,
                               [&](const at::Tensor& scores, const at::Tensor& flags) {
                                 const at::Tensor own = scores.to(torch::kDouble);
                                 sum += (flags.defined() ? own * flags : own).sum().item<double>();
                               });
      layer_weight_[l][r] = sum / static_cast<double>(layers_[l]->active(replica));
    }
  }
}

namespace {

constexpr double kMostOfFree = 0.99;  // share of a layer's gaps that growth may fill

// Divides `total` in proportion to the weights, at most `room` each; what is over goes to the
// others alike. The parts are whole numbers by largest remainders, and fewer where there is no room
// for all.
std::vector<std::int64_t> proportional(std::int64_t total, const std::vector<double>& weights,
                                       const std::vector<double>& room) {
  const std::size_t n = weights.size();
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<double> shares(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    shares[i] = sum > 0 ? static_cast<double>(total) * weights[i] / sum : 0;
  }
  double over = sum > 0 ? 0 : static_cast<double>(total);
  for (int round = 0; round < 1000; ++round) {
    std::size_t open = 0;
    for (std::size_t i = 0; i < n; ++i) {
      over += std::max(0.0, shares[i] - room[i]);
      shares[i] = std::min(shares[i], room[i]);
      open += shares[i] < room[i];
    }
    if (over < 0.5 || open == 0) break;
    const double each = over / static_cast<double>(open);
    over = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (shares[i] < room[i]) shares[i] += each;
    }
  }
  std::vector<std::int64_t> whole(n, 0);
  std::vector<std::size_t> order(n);
  std::int64_t left = total;
  for (std::size_t i = 0; i < n; ++i) {
    whole[i] = static_cast<std::int64_t>(std::min(shares[i], std::floor(room[i])));
    left -= whole[i];
    order[i] = i;
  }
  const auto rest = [&](std::size_t i) { return shares[i] - static_cast<double>(whole[i]); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rest(a) > rest(b); });
  for (bool gave = true; left > 0 && gave;) {
    gave = false;
    for (const std::size_t i : order) {
      if (left == 0 || static_cast<double>(whole[i] + 1) > room[i]) continue;
      ++whole[i];
      --left;
      gave = true;
    }
  }
  return whole;
}

}  // namespace

void TopologyUpdater::redistribute(Counts& counts, const UpdateMoment& moment) const {
  if (rules_.front().redistribution == TopologyRule::Redistribution::kNone) return;
  for (std::size_t r = 0; r < replicas(); ++r) {
    if (!moment.due[r]) continue;
    std::int64_t total = 0, gaps = 0;
    std::vector<double> weights, room;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      weights.push_back(layer_weight_[l][r]);
      room.push_back(0);
      if (!changes(l)) continue;
      const Size own = size(l, r);
      total += own.moved;
      gaps += own.positions - own.active;
      room.back() = static_cast<double>(own.positions - own.active);
    }
    std::vector<double> most = room;
    for (double& each : most) each = std::floor(kMostOfFree * each);
    // The budget is exact: where 99% of all gaps are too few, all of them are there to fill.
    double sum = 0;
    for (const double each : most) sum += each;
    const auto shares = proportional(std::min(total, gaps), weights,
                                     sum >= static_cast<double>(total) ? most : room);
    for (std::size_t l = 0; l < layers_.size(); ++l) counts[l][r] = shares[l];
  }
}

std::vector<std::int64_t> TopologyUpdater::spread_at_random(const Operation& operation,
                                                            std::size_t replica, std::int64_t count,
                                                            std::int64_t number) const {
  std::vector<std::int64_t> shares(layers_.size(), 0), ends(layers_.size(), 0);
  std::int64_t total = 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (changes(l)) {
      const Size one = size(l, replica);
      const Candidates among = among_of(operation.kind);
      total += among == Candidates::kAll        ? one.positions
               : among == Candidates::kInactive ? one.positions - one.active
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

}  // namespace tandem
