// The superset B of the sparse storage is M and others, by |w| or at random; outside of it all
// values are zero. The others are drawn among all positions of the layer, stored or not, and equal
// |w| go to the smaller position, so that the masked storage has the same B.
#include <algorithm>
#include <iterator>

#include "data/in_dtype.h"
#include "data/tensor.h"
#include "kernels/select/stream.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"
#include "topology/sparse_connections.h"

namespace tandem {
namespace {

constexpr std::int64_t kDrawn = std::int64_t{1} << 18;  // positions of a block of draws

std::vector<std::int64_t> merged(const std::vector<std::int64_t>& a,
                                 const std::vector<std::int64_t>& b) {
  std::vector<std::int64_t> all;
  all.reserve(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return all;
}

// Adds to `chosen` the smallest positions that lie neither there nor in `taken` (both ascending),
// until it has `count`.
void add_smallest(std::vector<std::int64_t>& chosen, const std::vector<std::int64_t>& taken,
                  std::int64_t count) {
  const std::vector<std::int64_t> occupied = merged(chosen, taken);
  std::vector<std::int64_t> more;
  auto next = occupied.begin();
  const std::int64_t missing = count - static_cast<std::int64_t>(chosen.size());
  for (std::int64_t p = 0; static_cast<std::int64_t>(more.size()) < missing; ++p) {
    if (next != occupied.end() && *next == p) {
      ++next;
    } else {
      more.push_back(p);
    }
  }
  chosen = merged(chosen, more);
}

}  // namespace

void SparseConnections::choose_superset(const TopologyChange& change, bool random,
                                        bool outside_zero) {
  TORCH_INTERNAL_ASSERT(outside_zero, parameter().name, " stores no values outside its superset");
  at::NoGradGuard no_grad;
  std::map<std::int64_t, PendingTopology> chosen;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto q = static_cast<std::size_t>(r);
    if (!change.due[q]) continue;
    const std::vector<std::int64_t> active = active_positions(r);
    const auto held = static_cast<std::int64_t>(active.size());
    const std::int64_t count = std::max<std::int64_t>(0, change.count[q] - held);
    std::vector<std::int64_t> others;
    if (count > 0 && random) {
      const RandomStream stream = draw_stream(change.keys[q], Draw::kSuperset);
      others = ranks_outside(random_ranks(stream, positions() - held, count), active);
    } else if (count > 0) {
      others = initial_ ? largest_initial(r, active, count) : largest_dormant(r, active, count);
    }
    chosen.emplace(r, stored_at(r, merged(active, others), active));
  }
  replace(chosen);
  superset_ = torch::ones({parameter().value.numel()}, torch::kByte);
}

std::vector<std::int64_t> SparseConnections::largest_dormant(
    std::int64_t replica, const std::vector<std::int64_t>& active, std::int64_t count) const {
  const std::vector<std::int64_t> stored = index_.at(static_cast<std::size_t>(replica)).positions();
  const at::Tensor size = parameter().segment(parameter().flat(), replica).abs();
  at::Tensor eligible = size.gt(0).to(torch::kByte);
  if (active_.defined()) eligible.mul_(1 - parameter().segment(active_, replica));
  if (!active_.defined()) eligible.zero_();
  const std::int64_t large = std::min(count, eligible.sum().item<std::int64_t>());
  const at::Tensor flags =
      select_rows(size.unsqueeze(0), eligible.unsqueeze(0), {large}, /*largest=*/true);
  std::vector<std::int64_t> chosen;
  for (std::size_t e = 0; e < stored.size(); ++e) {
    if (flags.data_ptr<std::uint8_t>()[e] != 0) chosen.push_back(stored[e]);
  }
  add_smallest(chosen, active, count);
  return chosen;
}

std::vector<std::int64_t> SparseConnections::largest_initial(
    std::int64_t replica, const std::vector<std::int64_t>& active, std::int64_t count) const {
  std::vector<std::int64_t> chosen;
  in_dtype(parameter().value, [&](auto zero) {
    using T = decltype(zero);
    TopStream<T> stream(count, /*largest=*/true);
    auto next = active.begin();
    int error = kSelectDone;
    for (std::int64_t first = 0; first < positions() && error == kSelectDone; first += kDrawn) {
      std::vector<std::int64_t> block(
          static_cast<std::size_t>(std::min(kDrawn, positions() - first)));
      std::vector<std::uint8_t> dormant(block.size(), 1);
      for (std::size_t i = 0; i < block.size(); ++i) {
        block[i] = first + static_cast<std::int64_t>(i);
        if (next == active.end() || *next != block[i]) continue;
        dormant[i] = 0;
        ++next;
      }
      const at::Tensor size = initial_values(replica, block).abs();
      error = stream.add(first, size.data_ptr<T>(), dormant.data(), size.numel());
    }
    if (error == kSelectDone) error = stream.finish(chosen);
    TORCH_INTERNAL_ASSERT(error == kSelectDone, "choosing ", count, " connections of ",
                          parameter().name, " failed with code ", error);
  });
  return chosen;
}

at::Tensor SparseConnections::initial_values(std::int64_t replica,
                                             const std::vector<std::int64_t>& positions) const {
  const at::Tensor draws =
      torch::empty({static_cast<std::int64_t>(positions.size())}, torch::kDouble);
  auto* draw = draws.data_ptr<double>();
  std::vector<std::int64_t> units;
  units.reserve(positions.size());
  for (const std::int64_t position : positions) {
    *draw++ = initial_->at(replica, position);
    units.push_back(position % outputs());
  }
  at::Tensor values = draws.to(parameter().value.scalar_type());
  rescale(values, std::move(units), replica, scaled_.at(static_cast<std::size_t>(replica)));
  return values;
}

SparseConnections::PendingTopology SparseConnections::stored_at(
    std::int64_t replica, std::vector<std::int64_t> positions,
    const std::vector<std::int64_t>& active) const {
  const std::vector<std::int64_t> stored = index_.at(static_cast<std::size_t>(replica)).positions();
  PendingTopology made;
  std::vector<std::int64_t> from, to, newcomers, new_positions;
  auto old = stored.begin();
  auto next = active.begin();
  for (std::size_t e = 0; e < positions.size(); ++e) {
    const std::int64_t position = positions[e];
    old = std::lower_bound(old, stored.end(), position);
    const bool known = old != stored.end() && *old == position;
    if (known) from.push_back(old - stored.begin());
    (known ? to : newcomers).push_back(static_cast<std::int64_t>(e));
    if (!known) new_positions.push_back(position);
    const bool is_active = next != active.end() && *next == position;
    made.active.push_back(is_active);
    if (is_active) ++next;
  }
  const at::Tensor sources = torch::tensor(from, torch::kLong);
  const at::Tensor places = torch::tensor(to, torch::kLong);
  const auto moved = [&](const at::Tensor& flat, double fill) {
    const at::Tensor all =
        torch::full({static_cast<std::int64_t>(positions.size())}, fill, flat.options());
    return all.index_copy_(0, places, parameter().segment(flat, replica).index_select(0, sources));
  };
  made.values = moved(parameter().flat(), 0);
  if (initial_) {
    made.values.index_copy_(0, torch::tensor(newcomers, torch::kLong),
                            initial_values(replica, new_positions));
  }
  for (const auto& [name, slot] : parameter().slots) {
    made.slots[name] = moved(slot.values, slot.newborn);
  }
  made.positions = std::move(positions);
  return made;
}

void SparseConnections::empty_dormant(const std::vector<char>& due) {
  if (!active_.defined()) return;
  at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    if (!due.at(static_cast<std::size_t>(r))) continue;
    const at::Tensor dormant = parameter().segment(active_, r).eq(0);
    parameter().segment(parameter().flat(), r).masked_fill_(dormant, 0);
    for (auto& [name, slot] : parameter().slots) {
      if (!slot.everywhere) parameter().segment(slot.values, r).masked_fill_(dormant, 0);
    }
  }
}

}  // namespace tandem
