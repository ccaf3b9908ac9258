// Topology updates of the masked storage. Scores, choices and births are computed for runs of
// consecutive due replicas at once; counts differ per replica.
#include <algorithm>

#include "data/tensor.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

constexpr std::uint8_t kWasActive = 1, kEntered = 2;

// Normal draws, keyed by position, where `born` is set.
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
  mask_ = torch::ones({replicas(), positions_},
                      parameter_->value.options().requires_grad(false).dtype(torch::kByte));
}

void MaskedConnections::open(const Rows& rows) {
  allocate_mask();
  if (!history_.defined()) history_ = torch::zeros_like(mask_);
  const auto first = open_.begin() + rows.first, last = first + rows.length;
  if (std::none_of(first, last, [](char open) { return open != 0; })) {
    rows.of(history_).copy_(rows.of(mask_));  // kWasActive where the mask is 1
    std::fill(first, last, char{1});
    return;
  }
  for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
    if (open_[r]) continue;
    open_[r] = 1;
    history_[r].copy_(mask_[r]);
  }
}

at::Tensor MaskedConnections::select(const Change& change, const Criterion& criterion,
                                     const Rows& rows, const at::Tensor& eligible,
                                     const std::vector<std::uint64_t>& keys, Draw draw,
                                     bool largest) const {
  const auto counts = rows.of(change.count);
  if (!criterion.random) {
    return select_rows(criterion.score(score_inputs(criterion, rows)), eligible, counts, largest);
  }
  TORCH_INTERNAL_ASSERT(keys.size() == change.due.size(),
                        "a random choice needs a key per replica");
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : rows.of(keys)) {
    streams.push_back(draw_stream(key, draw));
  }
  return random_rows(eligible.defined() ? eligible : torch::ones_like(rows.of(mask_)), counts,
                     streams);
}

at::Tensor MaskedConnections::select_per_sign(const Change& change, const Criterion& criterion,
                                              const Rows& rows, const at::Tensor& eligible) const {
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

void MaskedConnections::rank(const Change& change, const Criterion& criterion, bool zero_dormant) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    const at::Tensor chosen = select(change, criterion, rows, {}, change.keys, Draw::kRank,
                                     /*largest=*/true);
    at::Tensor mask = rows.of(mask_);
    rows.of(history_).bitwise_or_(chosen.bitwise_and(1 - mask) * kEntered);
    mask.copy_(chosen);
    if (zero_dormant) clear_left(rows);
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      active_[r] = change.count[r];
    }
  }
}

void MaskedConnections::drop(const Change& change, const Criterion& criterion) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    at::Tensor mask = rows.of(mask_);
    const at::Tensor chosen =
        criterion.per_sign
            ? select_per_sign(change, criterion, rows, mask)
            : select(change, criterion, rows, mask, change.keys, Draw::kDrop, /*largest=*/false);
    mask.sub_(chosen);
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      active_[r] -= change.count[r];
    }
  }
}

void MaskedConnections::grow(const Change& change, const Criterion& criterion,
                             const Newborn& newborn) {
  at::NoGradGuard no_grad;
  for (const Rows& rows : due_rows(change.due)) {
    open(rows);
    at::Tensor mask = rows.of(mask_), history = rows.of(history_);
    const at::Tensor chosen =
        select(change, criterion, rows, 1 - mask, newborn.keys, Draw::kGrow, /*largest=*/true);
    mask.add_(chosen);
    at::Tensor born = chosen.to(torch::kBool);
    if (newborn.keep_regrown) born = born & history.bitwise_and(kWasActive).eq(0);
    history.bitwise_or_(chosen * kEntered);
    give_birth(rows, born, newborn);
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      active_[r] += change.count[r];
    }
  }
}

void MaskedConnections::give_birth(const Rows& rows, const at::Tensor& born,
                                   const Newborn& newborn) {
  at::Tensor values = rows.of(this->values());
  values.masked_fill_(born, 0);
  if (newborn.deviation > 0) draw_values(values, born, newborn.deviation, rows.of(newborn.keys));
  for (auto& [name, slot] : parameter_->slots) {
    rows.of(slot.values.view({replicas(), positions_})).masked_fill_(born, slot.newborn);
  }
}

void MaskedConnections::clear_left(const Rows& rows) {
  const at::Tensor left = rows.of(history_).ne(0) & rows.of(mask_).eq(0);
  rows.of(values()).masked_fill_(left, 0);
  for (auto& [name, slot] : parameter_->slots) {
    rows.of(slot.values.view({replicas(), positions_})).masked_fill_(left, 0);
  }
}

void MaskedConnections::finish(const Change& change, bool zero_dormant) {
  at::NoGradGuard no_grad;
  if (!history_.defined()) return;
  for (const Rows& rows : due_rows(change.due)) {
    if (zero_dormant) clear_left(rows);
    rows.of(history_).zero_();
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) open_[r] = 0;
  }
}

}  // namespace tandem
