// Rankings over all layers: how many positions of each layer an operation of whole-net scope takes.
#include <algorithm>
#include <functional>

#include "data/tensor.h"
#include "kernels/select/stream.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"
#include "topology/topology_update.h"

namespace tandem {
namespace {

using Kind = TopologyOperation::Kind;

Among among_of(Kind kind) {
  if (kind == Kind::kRank) return Among::kAll;
  return kind == Kind::kGrow ? Among::kInactive : Among::kActive;
}

using VisitBlock = std::function<void(const at::Tensor& scores, const at::Tensor& flags)>;
using VisitLayer = std::function<void(std::size_t layer, const VisitBlock& visit)>;

// How many of the `count` best lie in each layer, from one pass that keeps about 2 count scores.
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

// The same on a GPU, where the scores of all layers stay side by side.
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
  if (chosen_by.random) return spread_at_random(operation, replica, count, number);
  if (count == 0) return std::vector<std::int64_t>(layers_.size(), 0);
  const VisitLayer visit_layer = [&](std::size_t l, const VisitBlock& visit) {
    if (!changes(l)) return;
    layers_[l]->visit_scores(static_cast<std::int64_t>(replica), chosen_by,
                             among_of(operation.kind), visit);
  };
  const bool largest = operation.kind == Kind::kGrow || operation.kind == Kind::kRank;
  std::size_t first = 0;
  while (!changes(first)) ++first;  // some layer does: count is not 0
  const at::Tensor& values = layers_[first]->parameter().value;
  if (values.is_cuda()) return selected_shares(layers_.size(), visit_layer, count, largest);
  return values.scalar_type() == torch::kDouble
             ? streamed_shares<double>(layers_.size(), visit_layer, count, largest)
             : streamed_shares<float>(layers_.size(), visit_layer, count, largest);
}

std::vector<std::int64_t> TopologyUpdater::spread_at_random(const Operation& operation,
                                                            std::size_t replica, std::int64_t count,
                                                            std::int64_t number) const {
  std::vector<std::int64_t> shares(layers_.size(), 0), ends(layers_.size(), 0);
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

}  // namespace tandem
