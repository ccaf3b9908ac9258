// This file has the topology updates of the masked storage. Scores, choices and births are computed
// at once for consecutive replicas that are due; counts differ per replica.
#include <algorithm>

#include "data/tensor.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"
#include "topology/sampled_choice.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

constexpr std::uint8_t kWasActive = 1, kEntered = 2;

// Writes normal draws, keyed by position, where `born` is set.
void draw_values(at::Tensor values, const at::Tensor& born, double deviation,
                 const std::vector<std::uint64_t>& keys) {
  const at::Tensor where = born.to(torch::kCPU).nonzero();  // [count,2]
  at::Tensor draws = torch::empty({where.size(0)}, torch::kDouble);
  const auto at_row = where.accessor<std::int64_t, 2>();
  for (std::int64_t i = 0; i < where.size(0); ++i) {
    const RandomStream stream = draw_stream(keys[at_row[i][0]], Draw::kValue);
    draws.data_ptr<double>()[i] = deviation * normal_at(stream, at_row[i][1]);
  }
  const at::Tensor on_device = where.to(values.device());
  values.index_put_({on_device.select(1, 0), on_device.select(1, 1)}, draws.to(values.options()));
}

std::vector<RandomStream> draw_streams(const std::vector<std::uint64_t>& keys, Draw draw) {
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : keys) streams.push_back(draw_stream(key, draw));
  return streams;
}

}  // namespace

std::vector<MaskedConnections::Rows> MaskedConnections::due_rows(
    const std::vector<char>& due) const {
  const auto size = static_cast<std::int64_t>(due.size());
  TORCH_INTERNAL_ASSERT(size == replicas(), size, " due flags for ", replicas(), " replicas");
  std::vector<Rows> runs;
  for (std::int64_t r = 0; r < size; ++r) {
    if (!due[r]) continue;
    if (r > 0 && due[r - 1]) {
      ++runs.back().length;
    } else {
      runs.push_back({r, 1});
    }
  }
  return runs;
}

void MaskedConnections::allocate_mask() {
  if (mask_.defined()) return;
  mask_ = torch::ones({replicas(), positions()},
                      parameter().value.options().requires_grad(false).dtype(torch::kByte));
}

void MaskedConnections::open(const Rows& rows) {
  allocate_mask();
  if (!history_.defined()) history_ = torch::zeros_like(mask_);
  const auto first = open_.begin() + rows.first, last = first + rows.length;
  if (std::none_of(first, last, [](char open) { return open != 0; })) {
    rows.of(history_).copy_(rows.of(mask_));  // kWasActive where the mask is 1
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) open(r);
    return;
  }
  for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
    if (open_[r]) continue;
    open(r);
    history_[r].copy_(mask_[r]);
  }
}

// A layer's budget is what it has between updates. Ablation may leave a remainder of the first
// budget unused, which is why that one is remembered.
void MaskedConnections::open(std::int64_t replica) {
  open_[replica] = 1;
  if (grouping_.has_quotas() && grouping_.granularity().ablation == 0) {
    budget_[replica] = active_[replica];
  }
}

// Returns what a choice orders positions by, [q,n]: scores, or keys of a draw in proportion to
// them.
at::Tensor MaskedConnections::choice_scores(const TopologyChange& change,
                                            const Criterion& criterion, const Rows& rows,
                                            const at::Tensor& eligible,
                                            const std::vector<std::uint64_t>& keys,
                                            Draw draw) const {
  const at::Tensor own = scores(criterion, rows, keys);
  if (change.sharpness.empty()) return own;
  return sampling_keys(own, eligible, rows.of(change.sharpness), draw_streams(rows.of(keys), draw));
}

at::Tensor MaskedConnections::select(const TopologyChange& change, const Criterion& criterion,
                                     const Rows& rows, const at::Tensor& eligible,
                                     const std::vector<std::uint64_t>& keys, Draw draw,
                                     bool largest) const {
  const auto counts = rows.of(change.count);
  if (!criterion.random) {
    return grouping_.choose(choice_scores(change, criterion, rows, eligible, keys, draw), eligible,
                            counts, largest);
  }
  TORCH_INTERNAL_ASSERT(keys.size() == change.due.size(),
                        "a random choice needs a key per replica");
  std::vector<std::int64_t> held;  // counts of what the draw chooses among
  for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
    held.push_back(change.excludes_dropped ? eligible[r - rows.first].sum().item<std::int64_t>()
                   : draw == Draw::kRank   ? rankable(r)
                   : draw == Draw::kGrow   ? items() - active_items(r)
                                           : active_items(r) - Connections::held(r));
  }
  return grouping_.choose_random(eligible.defined() ? eligible : torch::ones_like(rows.of(mask_)),
                                 counts, draw_streams(rows.of(keys), draw), held);
}

at::Tensor MaskedConnections::select_in_groups(const TopologyChange& change,
                                               const Criterion& criterion, const Rows& rows,
                                               const at::Tensor& eligible, const at::Tensor& counts,
                                               const std::vector<std::uint64_t>& keys, Draw draw,
                                               bool largest) const {
  if (!criterion.random) {
    return grouping_.choose_in_groups(choice_scores(change, criterion, rows, eligible, keys, draw),
                                      eligible, counts, largest);
  }
  TORCH_INTERNAL_ASSERT(static_cast<std::int64_t>(keys.size()) == replicas(),
                        "a random choice needs a key per replica");
  return grouping_.random_in_groups(
      eligible.defined() ? eligible : torch::ones_like(rows.of(mask_)), counts,
      draw_streams(rows.of(keys), draw));
}

at::Tensor MaskedConnections::select_per_sign(const TopologyChange& change,
                                              const Criterion& criterion, const Rows& rows,
                                              const at::Tensor& eligible) const {
  TORCH_INTERNAL_ASSERT(!grouping_.has_blocks(), criterion.name, " is of single weights");
  TORCH_INTERNAL_ASSERT(change.negatives.size() == change.due.size(), "criterion ", criterion.name,
                        " needs the number of negatives to drop");
  const auto negatives = rows.of(change.negatives);
  auto others = rows.of(change.count);
  for (std::size_t q = 0; q < others.size(); ++q) others[q] -= negatives[q];
  const at::Tensor scores = criterion.score(score_inputs(criterion, rows));
  const at::Tensor below_zero = rows.of(values()).lt(0).to(torch::kByte);
  return select_rows(scores, eligible * below_zero, negatives, false) +
         select_rows(scores, eligible * (1 - below_zero), others, false);
}

// Returns what a drop or a growth takes. Where groups have quotas and hold them it takes `count` of
// the layer, wherever they are; where they don't it leads each group back to its quota.
at::Tensor MaskedConnections::select_moved(TopologyChange change, const Criterion& criterion,
                                           const Rows& rows, const std::vector<std::uint64_t>& keys,
                                           bool grows) const {
  const at::Tensor mask = rows.of(mask_);
  at::Tensor eligible = grows ? 1 - mask : movable(mask, rows);
  if (change.excludes_dropped) {
    eligible = eligible * rows.of(history_).bitwise_and(kWasActive).eq(0);
  }
  const Draw draw = grows ? Draw::kGrow : Draw::kDrop;
  std::vector<std::int64_t> led(static_cast<std::size_t>(rows.length), 0);
  std::int64_t led_rows = 0;
  for (std::int64_t q = 0; grouping_.has_quotas() && q < rows.length; ++q) {
    const std::int64_t r = rows.first + q;
    led[q] = grows ? active_[r] < budget_[r] : active_[r] > budget_[r];
    if (led[q]) change.count[r] = 0;
    led_rows += led[q];
  }
  at::Tensor chosen;
  if (led_rows < rows.length) {
    chosen = criterion.per_sign ? select_per_sign(change, criterion, rows, eligible)
                                : select(change, criterion, rows, eligible, keys, draw, grows);
  }
  if (led_rows == 0) return chosen;
  const at::Tensor quotas = grouping_.quotas(rows.of(budget_)) * torch::tensor(led).unsqueeze(1);
  const at::Tensor held = grouping_.held(mask) * torch::tensor(led).unsqueeze(1).to(mask.device());
  const at::Tensor missing = quotas.to(mask.device()) - held;
  const at::Tensor moved =
      select_in_groups(change, criterion, rows, eligible, (grows ? missing : -missing).clamp_min(0),
                       keys, draw, grows);
  return chosen.defined() ? chosen + moved : moved;
}

// This is SRigL's growth: units without enough salient weights (what the drop left, and the best
// `count` candidates) lose what they have, and the others are led to their new fan-in.
at::Tensor MaskedConnections::ablate_and_select(const TopologyChange& change,
                                                const Criterion& criterion, const Rows& rows,
                                                const std::vector<std::uint64_t>& keys) {
  at::Tensor mask = rows.of(mask_);
  const at::Tensor candidates =
      select(change, criterion, rows, 1 - mask, keys, Draw::kGrow, /*largest=*/true);
  const at::Tensor quotas =
      quotas_after_ablation(grouping_.held(mask + candidates).to(torch::kCPU), rows.of(budget_),
                            parameter().value.size(1), grouping_.granularity().ablation)
          .to(mask.device());
  const at::Tensor kept = torch::minimum(grouping_.held(mask), quotas);
  mask.copy_(grouping_.choose_in_groups(rows.of(values()).abs(), mask, kept, /*largest=*/true));
  return select_in_groups(change, criterion, rows, 1 - mask, quotas - kept, keys, Draw::kGrow,
                          /*largest=*/true);
}

// items [R] are how many items the rows' replicas have now, which is taken on trust where items are
// positions.
void MaskedConnections::note_active(const Rows& rows, const std::vector<std::int64_t>& items) {
  if (!grouping_.by_element()) return recount(rows);
  for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) active_[r] = items[r];
}

void MaskedConnections::recount(const Rows& rows) {
  const at::Tensor mask = rows.of(mask_);
  const at::Tensor active = mask.sum(1, false, torch::kLong).to(torch::kCPU);
  for (std::int64_t q = 0; q < rows.length; ++q) {
    active_[rows.first + q] = active[q].item<std::int64_t>();
  }
  if (!grouping_.has_blocks()) return;
  const at::Tensor blocks = grouping_.item_flags(mask).sum(1, false, torch::kLong).to(torch::kCPU);
  for (std::int64_t q = 0; q < rows.length; ++q) {
    blocks_[rows.first + q] = blocks[q].item<std::int64_t>();
  }
}

// Returns the number of positions that a rank chooses among.
std::int64_t MaskedConnections::rankable(std::int64_t replica) const {
  return outside_zero_ ? superset_[replica].sum().item<std::int64_t>() : items();
}

// Returns what an update may take of the rows' `flags`, uint8 [q,n].
at::Tensor MaskedConnections::movable(const at::Tensor& flags, const Rows& rows) const {
  const at::Tensor held = parameter().held();
  if (!held.defined()) return flags;
  return flags * rows.of(held.view({replicas(), positions()})).logical_not();
}

// Returns a rank's choice: what is held, and the best of the others.
at::Tensor MaskedConnections::select_held_first(TopologyChange change, const Criterion& criterion,
                                                const Rows& rows,
                                                const at::Tensor& eligible) const {
  const at::Tensor held = parameter().held();
  if (!held.defined()) {
    return select(change, criterion, rows, eligible, change.keys, Draw::kRank, /*largest=*/true);
  }
  TORCH_INTERNAL_ASSERT(!criterion.random && !grouping_.has_blocks(),
                        "a rank at random, or of blocks, beside weights that are held");
  const at::Tensor first = rows.of(held.view({replicas(), positions()})).to(torch::kByte);
  for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
    change.count[r] -= Connections::held(r);
  }
  const at::Tensor others = eligible.defined() ? eligible * (1 - first) : 1 - first;
  return first +
         select(change, criterion, rows, others, change.keys, Draw::kRank, /*largest=*/true);
}

void MaskedConnections::rank(const TopologyChange& change, const Criterion& criterion,
                             bool zero_dormant) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    const at::Tensor eligible = outside_zero_ ? rows.of(superset_) : at::Tensor();
    at::Tensor chosen, quotas;
    if (grouping_.has_quotas()) {
      std::copy_n(change.count.begin() + rows.first, rows.length, budget_.begin() + rows.first);
      quotas = grouping_.quotas(rows.of(budget_));
      chosen = select_in_groups(change, criterion, rows, eligible, quotas, change.keys, Draw::kRank,
                                /*largest=*/true);
    } else {
      chosen = select_held_first(change, criterion, rows, eligible);
    }
    at::Tensor mask = rows.of(mask_);
    rows.of(history_).bitwise_or_(chosen.bitwise_and(1 - mask) * kEntered);
    mask.copy_(chosen);
    if (zero_dormant) clear_left(rows);
    if (!quotas.defined()) {
      note_active(rows, change.count);
      continue;
    }
    const at::Tensor now = quotas.sum(1);  // every group has its own
    std::copy_n(now.data_ptr<std::int64_t>(), rows.length, active_.begin() + rows.first);
  }
}

void MaskedConnections::drop(const TopologyChange& change, const Criterion& criterion) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    std::vector<std::int64_t> left = active_;
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      left[r] -= change.count[r];
      if (change.prunes && grouping_.has_quotas()) budget_[r] = left[r];
    }
    rows.of(mask_).sub_(select_moved(change, criterion, rows, change.keys, /*grows=*/false));
    note_active(rows, left);
  }
}

void MaskedConnections::grow(const TopologyChange& change, const Criterion& criterion,
                             const RegrowthInit& newborn) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    at::Tensor mask = rows.of(mask_), history = rows.of(history_);
    const at::Tensor chosen =
        grouping_.granularity().ablation > 0
            ? ablate_and_select(change, criterion, rows, newborn.keys)
            : select_moved(change, criterion, rows, newborn.keys, /*grows=*/true);
    mask.add_(chosen);
    at::Tensor born = chosen.to(torch::kBool);
    if (newborn.keep_regrown) born = born & history.bitwise_and(kWasActive).eq(0);
    history.bitwise_or_(chosen * kEntered);
    give_birth(rows, born, newborn);
    std::vector<std::int64_t> now = active_;
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) now[r] += change.count[r];
    note_active(rows, now);
  }
}

void MaskedConnections::give_birth(const Rows& rows, const at::Tensor& born,
                                   const RegrowthInit& newborn) {
  at::Tensor values = rows.of(this->values());
  if (!newborn.stale) values.masked_fill_(born, 0);
  if (newborn.deviation > 0) draw_values(values, born, newborn.deviation, rows.of(newborn.keys));
  for (auto& [name, slot] : parameter().slots) {
    if (slot.everywhere) continue;
    rows.of(slot.values.view({replicas(), positions()})).masked_fill_(born, slot.newborn);
  }
}

void MaskedConnections::empty(const at::Tensor& which, const Rows& rows) {
  rows.of(values()).masked_fill_(which, 0);
  for (auto& [name, slot] : parameter().slots) {
    if (slot.everywhere) continue;
    rows.of(slot.values.view({replicas(), positions()})).masked_fill_(which, 0);
  }
}

void MaskedConnections::clear_left(const Rows& rows) {
  empty(rows.of(history_).ne(0) & rows.of(mask_).eq(0), rows);
}

void MaskedConnections::empty_dormant(const std::vector<char>& due) {
  at::NoGradGuard no_grad;
  if (!mask_.defined()) return;
  for (const Rows& rows : due_rows(due)) empty(rows.of(mask_).eq(0), rows);
}

void MaskedConnections::choose_superset(const TopologyChange& change, bool random,
                                        bool outside_zero) {
  at::NoGradGuard no_grad;
  outside_zero_ = outside_zero;
  if (!superset_.defined()) {
    superset_ = torch::ones({replicas(), positions()},
                            parameter().value.options().requires_grad(false).dtype(torch::kByte));
  }
  for (const Rows& rows : due_rows(change.due)) {
    const at::Tensor mask = mask_.defined() ? rows.of(mask_) : torch::ones_like(rows.of(superset_));
    std::vector<std::int64_t> counts, held;  // beyond the mask
    std::vector<RandomStream> streams;
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      counts.push_back(std::max<std::int64_t>(0, change.count[r] - active_[r]));
      held.push_back(positions() - active_[r]);
      streams.push_back(draw_stream(change.keys[r], Draw::kSuperset));
    }
    const at::Tensor others = 1 - mask;
    const at::Tensor chosen = random ? random_rows(others, counts, streams, held)
                                     : select_rows(rows.of(values()).abs(), others, counts, true);
    const at::Tensor was = outside_zero ? rows.of(superset_).clone() : at::Tensor();
    rows.of(superset_).copy_(mask + chosen);
    if (!outside_zero) continue;
    const at::Tensor stays = was.mul_(rows.of(superset_)).add_(mask);
    give_birth(rows, stays.eq(0), {});  // what is outside, and what enters
  }
}

void MaskedConnections::choose_nested(const std::vector<char>& due,
                                      const std::vector<std::vector<std::int64_t>>& counts) {
  at::NoGradGuard no_grad;
  nested_masks_ = static_cast<std::int64_t>(counts.size());
  if (!nested_.defined()) {
    nested_ = torch::zeros({replicas(), positions()},
                           parameter().value.options().requires_grad(false).dtype(torch::kByte));
  }
  for (const Rows& rows : due_rows(due)) {
    at::Tensor depth = rows.of(nested_);
    at::Tensor widest = mask_.defined() ? rows.of(mask_) : torch::ones_like(depth);
    depth.zero_();
    const at::Tensor magnitude = rows.of(values()).abs();
    for (const std::vector<std::int64_t>& each : counts) {
      widest = select_rows(magnitude, widest, rows.of(each), /*largest=*/true);
      depth.add_(widest);
    }
  }
}

void MaskedConnections::finish(const TopologyChange& change, bool zero_dormant) {
  at::NoGradGuard no_grad;
  if (!history_.defined()) return;
  for (const Rows& rows : due_rows(change.due)) {
    if (zero_dormant) clear_left(rows);
    rows.of(history_).zero_();
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) open_[r] = 0;
  }
}

}  // namespace tandem
