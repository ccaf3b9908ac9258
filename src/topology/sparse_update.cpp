// This file has the topology updates of the sparse storage, replica by replica.
#include <algorithm>
#include <iterator>
#include <numeric>

#include "data/in_dtype.h"
#include "data/tensor.h"
#include "kernels/select/stream.h"
#include "topology/random_ranks.h"
#include "topology/sampled_choice.h"
#include "topology/select_rows.h"
#include "topology/sparse_connections.h"

namespace tandem {
namespace {

at::Tensor flags_over(std::vector<std::uint8_t>& flags) {  // shares memory
  return torch::from_blob(flags.data(), {static_cast<std::int64_t>(flags.size())}, torch::kByte);
}

at::Tensor list_of(const std::vector<std::int64_t>& values) {
  return torch::tensor(values, torch::kLong);
}

// Marks the `count` lowest of what is eligible, uint8 [n].
at::Tensor lowest(const at::Tensor& scores, const at::Tensor& eligible, std::int64_t count) {
  return select_rows(scores.unsqueeze(0), eligible.unsqueeze(0), {count}, /*largest=*/false)[0];
}

// Returns these positions' keys of a draw in proportion to scores (see sampled_choice.h).
at::Tensor drawn(const at::Tensor& scores, const std::vector<std::int64_t>& positions,
                 double sharpness, RandomStream stream) {
  at::Tensor keys = scores.to(torch::kDouble).clone();
  auto* key = keys.data_ptr<double>();
  for (std::size_t i = 0; i < positions.size(); ++i) {
    key[i] = sampling_key(key[i], sharpness, stream, positions[i]);
  }
  return keys;
}

// Returns the same for consecutive positions, where they are flagged.
at::Tensor drawn(const at::Tensor& scores, std::int64_t first, const at::Tensor& flags,
                 double sharpness, RandomStream stream) {
  at::Tensor keys = scores.to(torch::kDouble).clone();
  auto* key = keys.data_ptr<double>();
  const auto* flag = flags.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < keys.numel(); ++i) {
    if (flag[i] != 0) key[i] = sampling_key(key[i], sharpness, stream, first + i);
  }
  return keys;
}

// Offers all scores of a visit to the stream, in order.
template <class T>
int offer(TopStream<T>& stream, std::int64_t& first, const at::Tensor& scores,
          const at::Tensor& flags) {
  const at::Tensor own = scores.contiguous();
  const int error =
      stream.add(first, own.data_ptr<T>(),
                 flags.defined() ? flags.data_ptr<std::uint8_t>() : nullptr, own.numel());
  first += own.numel();
  return error;
}

}  // namespace

std::int64_t SparseConnections::PendingTopology::active_count() const {
  return std::count(active.begin(), active.end(), std::uint8_t{1});
}

std::vector<std::int64_t> SparseConnections::PendingTopology::active_positions() const {
  std::vector<std::int64_t> kept;
  for (std::size_t e = 0; e < positions.size(); ++e) {
    if (active[e] != 0) kept.push_back(positions[e]);
  }
  return kept;
}

std::vector<std::int64_t> SparseConnections::PendingTopology::dropped_positions() const {
  std::vector<std::int64_t> left;
  for (std::size_t e = 0; e < positions.size(); ++e) {
    if (was[e] != 0 && active[e] == 0) left.push_back(positions[e]);
  }
  return left;
}

at::Tensor SparseConnections::PendingTopology::held(const Parameter& parameter) const {
  at::Tensor all = torch::zeros({static_cast<std::int64_t>(positions.size())}, torch::kByte);
  for (const auto& [name, slot] : parameter.slots) {
    if (slot.holds) all.bitwise_or_(slots.at(name).ne(0).to(torch::kByte));
  }
  return all;
}

void SparseConnections::PendingTopology::keep_active() {
  std::vector<std::int64_t> kept;
  for (std::size_t e = 0; e < positions.size(); ++e) {
    if (active[e] != 0) kept.push_back(static_cast<std::int64_t>(e));
  }
  if (kept.size() == positions.size()) return;
  const at::Tensor places = list_of(kept);
  positions = active_positions();
  active.assign(positions.size(), 1);
  values = values.index_select(0, places);
  for (auto& [name, slot] : slots) slot = slot.index_select(0, places);
}

SparseConnections::PendingTopology& SparseConnections::pending(std::int64_t replica,
                                                               const Criterion& criterion) {
  for (const std::string& name : criterion.slots) parameter().slot(name);
  auto [found, begins] = pending_.try_emplace(replica);
  PendingTopology& own = found->second;
  if (begins) {
    own.positions = index_.at(static_cast<std::size_t>(replica)).positions();
    own.active.assign(own.positions.size(), 1);
    if (active_.defined()) {
      const at::Tensor flags = parameter().segment(active_, replica);
      std::copy_n(flags.data_ptr<std::uint8_t>(), flags.numel(), own.active.begin());
    }
    own.was = own.active;
    own.values = parameter().segment(parameter().flat(), replica).clone();
    for (const auto& [name, slot] : parameter().slots) {
      own.slots[name] = parameter().segment(slot.values, replica).clone();
    }
  }
  for (const auto& [name, slot] : parameter().slots) {  // what this criterion has just made
    if (own.slots.contains(name)) continue;
    own.slots[name] = torch::full({own.values.numel()}, slot.newborn, slot.values.options());
  }
  return own;
}

// The new mask is the best of the superset, as it is in the masked storage where values outside are
// zero.
void SparseConnections::rank(const TopologyChange& change, const Criterion& criterion,
                             bool /*zero_dormant*/) {
  TORCH_INTERNAL_ASSERT(superset_.defined(), parameter().name, " has no dormant weights to rank");
  at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto q = static_cast<std::size_t>(r);
    if (!change.due[q]) continue;
    PendingTopology& own = pending(r, criterion);
    at::Tensor active = flags_over(own.active);
    if (criterion.random) {
      const std::int64_t stored = active.numel();
      const auto ranks =
          random_ranks(draw_stream(change.keys[q], Draw::kRank), stored, change.count[q]);
      mark_ranks(ranks, nullptr, stored, active.data_ptr<std::uint8_t>());
    } else {
      const at::Tensor scores = criterion.score(stored_inputs(r, criterion));
      const at::Tensor held = own.held(parameter());
      const std::int64_t first = held.sum().item<std::int64_t>();
      active.copy_(select_rows(scores.unsqueeze(0), (1 - held).unsqueeze(0),
                               {change.count[q] - first}, /*largest=*/true)[0] +
                   held);
    }
  }
}

at::Tensor SparseConnections::active_scores(std::int64_t replica, const Criterion& criterion,
                                            const at::Tensor& active, std::uint64_t key) const {
  if (criterion.score != nullptr && !criterion.needs_gradient && !criterion.needs_uniform) {
    return criterion.score(stored_inputs(replica, criterion)).masked_select(active.ne(0));
  }
  std::vector<at::Tensor> scores;
  visit_blocks(replica, criterion, Candidates::kActive, key,
               [&](const at::Tensor& block, const at::Tensor& flags) {
                 scores.push_back(block.masked_select(flags.ne(0)));
               });
  return torch::cat(scores);
}

void SparseConnections::drop(const TopologyChange& change, const Criterion& criterion) {
  at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto q = static_cast<std::size_t>(r);
    if (!change.due[q]) continue;
    PendingTopology& own = pending(r, criterion);
    at::Tensor active = flags_over(own.active);
    const at::Tensor movable = active * (1 - own.held(parameter()));
    at::Tensor chosen = torch::zeros_like(active);
    if (criterion.random) {
      if (change.count[q] > 0) {
        const auto ranks = random_ranks(draw_stream(change.keys[q], Draw::kDrop),
                                        movable.sum().item<std::int64_t>(), change.count[q]);
        mark_ranks(ranks, movable.data_ptr<std::uint8_t>(), chosen.numel(),
                   chosen.data_ptr<std::uint8_t>());
      }
    } else if (criterion.per_sign) {
      const at::Tensor scores = criterion.score(stored_inputs(r, criterion));
      const at::Tensor below_zero = own.values.lt(0).to(torch::kByte);
      chosen = lowest(scores, movable * below_zero, change.negatives[q]) +
               lowest(scores, movable * (1 - below_zero), change.count[q] - change.negatives[q]);
    } else {
      const std::uint64_t key = change.keys.empty() ? 0 : change.keys[q];
      at::Tensor scores = active_scores(r, criterion, active, key);
      if (!change.sharpness.empty()) {
        scores = drawn(scores, own.active_positions(), change.sharpness[q],
                       draw_stream(key, Draw::kDrop));
      }
      chosen.masked_scatter_(active.ne(0),
                             lowest(scores, movable.masked_select(active.ne(0)), change.count[q]));
    }
    active.sub_(chosen);
  }
}

std::vector<std::int64_t> SparseConnections::choose_growth(const TopologyChange& change,
                                                           std::int64_t replica,
                                                           const Criterion& criterion,
                                                           std::uint64_t key) const {
  const std::int64_t count = change.count[static_cast<std::size_t>(replica)];
  if (count == 0) return {};
  const PendingTopology& own = pending_.at(replica);
  const std::vector<std::int64_t> dropped =
      change.excludes_dropped ? own.dropped_positions() : std::vector<std::int64_t>();
  if (criterion.random) {
    std::vector<std::int64_t> occupied = own.active_positions();
    if (!dropped.empty()) {
      std::vector<std::int64_t> both;
      std::merge(occupied.begin(), occupied.end(), dropped.begin(), dropped.end(),
                 std::back_inserter(both));
      occupied = std::move(both);
    }
    const auto free = positions() - static_cast<std::int64_t>(occupied.size());
    return ranks_outside(random_ranks(draw_stream(key, Draw::kGrow), free, count), occupied);
  }
  const bool sampled = !change.sharpness.empty();
  const double sharpness = sampled ? change.sharpness[static_cast<std::size_t>(replica)] : 1;
  const RandomStream draws = draw_stream(key, Draw::kGrow);
  std::vector<std::int64_t> chosen;
  const auto choose = [&](auto zero) {
    TopStream<decltype(zero)> stream(count, /*largest=*/true);
    std::int64_t first = 0;
    int error = kSelectDone;
    auto next = dropped.begin();
    const auto visit = [&](const at::Tensor& block, at::Tensor flags) {
      const std::int64_t end = first + block.numel();
      if (next != dropped.end() && *next < end) flags = flags.clone();
      for (; next != dropped.end() && *next < end; ++next) {
        flags.data_ptr<std::uint8_t>()[*next - first] = 0;
      }
      const at::Tensor scores = sampled ? drawn(block, first, flags, sharpness, draws) : block;
      if (error == kSelectDone) error = offer(stream, first, scores, flags);
    };
    visit_blocks(replica, criterion, Candidates::kInactive, key, visit);
    if (error == kSelectDone) error = stream.finish(chosen);
    TORCH_INTERNAL_ASSERT(error == kSelectDone, "growing ", count, " connections of ",
                          parameter().name, " failed with code ", error);
  };
  if (sampled || criterion.needs_uniform) {
    choose(0.0);
  } else {
    in_dtype(parameter().value, choose);
  }
  return chosen;
}

namespace {

// Two ascending lists of positions become one: what is stored, and what grows.
struct Merged {
  std::vector<std::int64_t> positions;
  std::vector<std::uint8_t> active, was;
  std::vector<std::int64_t> from, to;  // places of what was stored, before and after
  std::vector<std::int64_t> born;      // places of what begins anew

  void keep(std::int64_t place, std::int64_t position, std::uint8_t is_active,
            std::uint8_t was_active) {
    from.push_back(place);
    to.push_back(static_cast<std::int64_t>(positions.size()));
    add(position, is_active, was_active);
  }
  void add(std::int64_t position, std::uint8_t is_active, std::uint8_t was_active) {
    positions.push_back(position);
    active.push_back(is_active);
    was.push_back(was_active);
  }
  void bear() { born.push_back(static_cast<std::int64_t>(positions.size())); }  // the next one
};

}  // namespace

// `chosen` is ascending and not active. What is stored already keeps its place.
void SparseConnections::insert(PendingTopology& pending, const std::vector<std::int64_t>& chosen,
                               const RegrowthInit& newborn, std::uint64_t key) const {
  Merged merged;
  merged.positions.reserve(pending.positions.size() + chosen.size());
  std::size_t old = 0;
  const auto keep_old = [&](std::uint8_t active) {
    merged.keep(static_cast<std::int64_t>(old), pending.positions[old], active, pending.was[old]);
    ++old;
  };
  for (const std::int64_t position : chosen) {
    while (old < pending.positions.size() && pending.positions[old] < position) {
      keep_old(pending.active[old]);
    }
    if (old < pending.positions.size() && pending.positions[old] == position) {
      if (!newborn.keep_regrown || pending.was[old] == 0) merged.bear();
      keep_old(1);
      continue;
    }
    merged.bear();
    merged.add(position, 1, 0);
  }
  while (old < pending.positions.size()) keep_old(pending.active[old]);
  move_values(pending, merged.from, merged.to, merged.born,
              static_cast<std::int64_t>(merged.positions.size()));
  if (newborn.deviation > 0) draw_newborn(pending, merged.positions, merged.born, newborn, key);
  pending.positions = std::move(merged.positions);
  pending.active = std::move(merged.active);
  pending.was = std::move(merged.was);
}

// Values and slots into `count` places: what lay at `from` lies at `to`; what is born has a value
// of zero and the slots of a newborn.
void SparseConnections::move_values(PendingTopology& pending, std::vector<std::int64_t>& from,
                                    std::vector<std::int64_t>& to, std::vector<std::int64_t>& born,
                                    std::int64_t count) const {
  const at::Tensor sources = list_of(from), places = list_of(to), newcomers = list_of(born);
  const auto moved = [&](const at::Tensor& values, double fill) {
    const at::Tensor all = torch::full({count}, fill, values.options());
    all.index_copy_(0, places, values.index_select(0, sources));
    return all.index_fill_(0, newcomers, fill);
  };
  pending.values = moved(pending.values, 0);
  for (auto& [name, values] : pending.slots) {
    values = moved(values, parameter().slots.at(name).newborn);
  }
}

// Normal draws, keyed by position, become the values of what is born.
void SparseConnections::draw_newborn(PendingTopology& pending,
                                     const std::vector<std::int64_t>& positions,
                                     std::vector<std::int64_t>& born, const RegrowthInit& newborn,
                                     std::uint64_t key) const {
  const RandomStream stream = draw_stream(key, Draw::kValue);
  at::Tensor draws = torch::empty({static_cast<std::int64_t>(born.size())}, torch::kDouble);
  for (std::size_t i = 0; i < born.size(); ++i) {
    draws.data_ptr<double>()[i] =
        newborn.deviation * normal_at(stream, positions[static_cast<std::size_t>(born[i])]);
  }
  pending.values.index_copy_(0, list_of(born), draws.to(pending.values.scalar_type()));
}

void SparseConnections::grow(const TopologyChange& change, const Criterion& criterion,
                             const RegrowthInit& newborn) {
  at::NoGradGuard no_grad;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto q = static_cast<std::size_t>(r);
    if (!change.due[q]) continue;
    const std::uint64_t key = newborn.keys.empty() ? 0 : newborn.keys[q];
    PendingTopology& own = pending(r, criterion);
    insert(own, choose_growth(change, r, criterion, key), newborn, key);
  }
}

void SparseConnections::finish(const TopologyChange& change, bool /*zero_dormant*/) {
  at::NoGradGuard no_grad;
  std::map<std::int64_t, PendingTopology> done;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto found = pending_.find(r);
    if (!change.due[static_cast<std::size_t>(r)] || found == pending_.end()) continue;
    PendingTopology& own = found->second;
    if (!superset_.defined()) own.keep_active();
    done.emplace(r, std::move(own));
    pending_.erase(found);
  }
  replace(done);
}

// Gives these replicas new connections, values and slots. Tensors are replaced where lengths
// change.
void SparseConnections::replace(const std::map<std::int64_t, PendingTopology>& all_pending) {
  if (all_pending.empty()) return;
  initial_.reset();
  const at::Tensor active = flags_after(all_pending);
  bool same_length = true;
  for (const auto& [r, own] : all_pending) {
    same_length = same_length && own.values.numel() == index_[static_cast<std::size_t>(r)].count();
  }
  const auto put = [&](const at::Tensor& flat, const std::string& slot) {
    const auto of = [&](const PendingTopology& own) {
      return slot.empty() ? own.values : own.slots.at(slot);
    };
    if (same_length) {
      for (const auto& [r, own] : all_pending) parameter().segment(flat, r).copy_(of(own));
      return flat;
    }
    std::vector<at::Tensor> parts;
    for (std::int64_t r = 0; r < replicas(); ++r) {
      const auto found = all_pending.find(r);
      parts.push_back(found != all_pending.end() ? of(found->second)
                                                 : parameter().segment(flat, r));
    }
    return torch::cat(parts);
  };
  const at::Tensor values = put(parameter().flat(), "");
  for (auto& [name, slot] : parameter().slots) slot.values = put(slot.values, name);
  if (!same_length) parameter().value = values.detach().requires_grad_(true);
  for (const auto& [r, own] : all_pending) {
    SparseIndex& index = index_[static_cast<std::size_t>(r)];
    if (index.positions() != own.positions) index = SparseIndex(inputs(), outputs(), own.positions);
  }
  active_ = active;
  if (superset_.defined() && !same_length) superset_ = torch::ones({values.numel()}, torch::kByte);
}

// Returns what active_ is to be; it is undefined where everything is active.
at::Tensor SparseConnections::flags_after(
    const std::map<std::int64_t, PendingTopology>& all_pending) const {
  std::vector<at::Tensor> parts;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const auto found = all_pending.find(r);
    if (found != all_pending.end()) {
      parts.push_back(torch::tensor(found->second.active, torch::kByte));
    } else if (active_.defined()) {
      parts.push_back(parameter().segment(active_, r));
    } else {
      parts.push_back(torch::ones({index_[static_cast<std::size_t>(r)].count()}, torch::kByte));
    }
  }
  const at::Tensor flags = torch::cat(parts);
  return flags.all().item<bool>() ? at::Tensor() : flags;
}

}  // namespace tandem
