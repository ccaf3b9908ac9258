#include "continual/replay_buffer.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/seeds.h"
#include "data/example.h"
#include "data/tensor.h"

namespace tandem {

std::vector<std::int64_t> draw_places(const RandomStream& stream, std::int64_t count,
                                      std::int64_t of) {
  std::vector<bool> taken(static_cast<std::size_t>(of), false);
  std::vector<std::int64_t> places;
  places.reserve(static_cast<std::size_t>(count));
  for (std::int64_t last = of - count; last < of; ++last) {
    const auto draw = static_cast<std::uint64_t>(last);
    const auto drawn = static_cast<std::int64_t>(stream.below(draw, draw + 1));
    const std::int64_t place = taken[static_cast<std::size_t>(drawn)] ? last : drawn;
    taken[static_cast<std::size_t>(place)] = true;
    places.push_back(place);
  }
  return places;
}

void draw_rows(const RandomStream& stream, std::int64_t most,
               const std::vector<std::int64_t>& buffer, std::vector<BatchRow>& rows) {
  const auto held = static_cast<std::int64_t>(buffer.size());
  const std::int64_t count = std::min(held, most);
  rows.reserve(static_cast<std::size_t>(count));
  for (const std::int64_t place : draw_places(stream, count, held)) {
    rows.push_back({buffer[static_cast<std::size_t>(place)], place});
  }
}

std::vector<std::int64_t> memory_of_task(const Config& config, std::int64_t task, std::int64_t most,
                                         const std::vector<std::int64_t>& examples) {
  const auto there = static_cast<std::int64_t>(examples.size());
  const RandomStream stream{
      sub_key(sub_key(run_key(config, "replay"), 0), static_cast<std::uint64_t>(task))};
  std::vector<std::int64_t> kept;
  for (const std::int64_t place : draw_places(stream, std::min(most, there), there)) {
    kept.push_back(examples[static_cast<std::size_t>(place)]);
  }
  return kept;
}

namespace {

constexpr std::uint64_t kChoices = 17;  // of the run's stream "replay"

}  // namespace

ReplayBuffer::ReplayBuffer(const Config& config, std::int64_t kinds)
    : rule_(config.text("buffer_rule") == "ring"        ? Rule::kRing
            : config.text("buffer_rule") == "balanced"  ? Rule::kBalanced
            : config.text("buffer_rule") == "task_ends" ? Rule::kTaskEnds
                                                        : Rule::kReservoir),
      places_{sub_key(run_key(config, "replay"), 0)},
      choices_{sub_key(run_key(config, "replay"), kChoices)},
      key_(run_key(config, "replay")),
      capacity_(config.integer("buffer")),
      kinds_(static_cast<std::size_t>(rule_ == Rule::kReservoir ? 0 : kinds)) {}

void ReplayBuffer::replay(std::int64_t step, std::int64_t draw, std::int64_t most,
                          std::vector<BatchRow>& rows) const {
  const RandomStream stream{sub_key(sub_key(key_, static_cast<std::uint64_t>(1 + draw)),
                                    static_cast<std::uint64_t>(step))};
  draw_rows(stream, most, buffer_, rows);
}

std::int64_t ReplayBuffer::offer(std::int64_t example, std::int64_t kind) {
  if (rule_ == Rule::kTaskEnds) return -1;
  if (rule_ == Rule::kReservoir) return offer_to_reservoir(example);
  Kind& own = kinds_.at(static_cast<std::size_t>(kind));
  return rule_ == Rule::kRing ? offer_to_ring(example, own) : offer_balanced(example, own);
}

std::int64_t ReplayBuffer::offer_to_reservoir(std::int64_t example) {
  const auto n = static_cast<std::uint64_t>(seen_++);
  if (held() < capacity_) {
    buffer_.push_back(example);
    return held() - 1;
  }
  const auto place = static_cast<std::int64_t>(places_.below(n, n + 1));
  if (place >= capacity_) return -1;
  buffer_[static_cast<std::size_t>(place)] = example;
  return place;
}

std::int64_t ReplayBuffer::append(std::int64_t example, Kind& kind) {
  buffer_.push_back(example);
  kind.places.push_back(held() - 1);
  return held() - 1;
}

// The oldest of the kind makes room: places were taken in order, and are taken anew in the same.
std::int64_t ReplayBuffer::offer_to_ring(std::int64_t example, Kind& kind) {
  ++seen_;
  const std::int64_t n = kind.seen++;
  const std::int64_t each = capacity_ / static_cast<std::int64_t>(kinds_.size());
  if (n < each) return append(example, kind);
  const std::int64_t place = kind.places[static_cast<std::size_t>(n % each)];
  buffer_[static_cast<std::size_t>(place)] = example;
  return place;
}

std::int64_t ReplayBuffer::offer_balanced(std::int64_t example, Kind& kind) {
  const auto n = static_cast<std::uint64_t>(seen_++);
  const auto of_kind = static_cast<std::uint64_t>(kind.seen++);
  if (held() < capacity_) return append(example, kind);
  std::size_t most = 0;
  for (const Kind& each : kinds_) most = std::max(most, each.places.size());
  for (Kind& each : kinds_) each.full = each.full || each.places.size() == most;
  if (kind.full) {
    const std::uint64_t drawn = places_.below(n, of_kind + 1);
    if (drawn >= kind.places.size()) return -1;
    const std::int64_t place = kind.places[static_cast<std::size_t>(drawn)];
    buffer_[static_cast<std::size_t>(place)] = example;
    return place;
  }
  // One of the largest kinds gives up one of its own, each of all of theirs equally likely.
  std::uint64_t candidates = 0;
  for (const Kind& each : kinds_) candidates += each.places.size() == most ? most : 0;
  std::uint64_t drawn = choices_.below(n, candidates);
  auto giver = kinds_.begin();
  for (;; ++giver) {
    if (giver->places.size() != most) continue;
    if (drawn < most) break;
    drawn -= most;
  }
  const auto chosen = giver->places.begin() + static_cast<std::ptrdiff_t>(drawn);
  const std::int64_t place = *chosen;
  giver->places.erase(chosen);
  kind.places.insert(std::lower_bound(kind.places.begin(), kind.places.end(), place), place);
  buffer_[static_cast<std::size_t>(place)] = example;
  return place;
}

std::vector<std::int64_t> ReplayBuffer::counts() const {
  std::vector<std::int64_t> all;
  for (const Kind& each : kinds_) {
    all.push_back(each.seen);
    all.push_back(each.full);
  }
  return all;
}

void ReplayBuffer::restore_counts(const std::vector<std::int64_t>& counts,
                                  const std::function<std::int64_t(std::int64_t)>& kind_of) {
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    kinds_[k] = {counts[2 * k], counts[2 * k + 1] != 0, {}};
  }
  for (std::size_t place = 0; place < buffer_.size(); ++place) {
    kinds_[static_cast<std::size_t>(kind_of(buffer_[place]))].places.push_back(
        static_cast<std::int64_t>(place));
  }
}

std::int64_t replay_rows(const Config& config) {
  const std::int64_t said = config.integer("replay_batch");
  return said > 0 ? said : config.integer("batch");
}

namespace {

// Tasks of bytes have no classes: a task is what its windows have in common.
bool share_classes(const TaskSequence& sequence) {
  return sequence.has_views() || sequence.tasks.front().classes.empty();
}

// Classes are those of the data set, which a sequence may not have all of.
std::int64_t classes_of(const TaskSequence& sequence) {
  std::int64_t most = 0;
  for (const Task& task : sequence.tasks) {
    for (const std::int64_t each : task.classes) most = std::max(most, each);
  }
  return most + 1;
}

std::int64_t kinds_of(const TaskSequence& sequence) {
  const auto tasks = static_cast<std::int64_t>(sequence.tasks.size());
  return classes_of(sequence) * (share_classes(sequence) ? tasks : 1);
}

}  // namespace

BufferReplay::BufferReplay(StrategyView view)
    : Strategy(std::move(view)), name_(view_.configs.front().text("strategy")) {
  for (std::size_t r = 0; r < view_.configs.size(); ++r) {
    const std::int64_t kinds = view_.sequences.empty() ? 1 : kinds_of(view_.sequences[r]);
    replicas_.push_back({ReplayBuffer(view_.configs[r], kinds), replay_rows(view_.configs[r])});
  }
}

std::int64_t BufferReplay::kind_of(std::int64_t r, std::int64_t example) const {
  const TaskSequence& sequence = view_.sequences[static_cast<std::size_t>(r)];
  const std::int64_t own = view_.class_of ? view_.class_of(example) : 0;
  return share_classes(sequence) ? (task_of(example) - 1) * classes_of(sequence) + own : own;
}

std::vector<StrategyNeeds::Replay> BufferReplay::replays(std::int64_t count) const {
  std::int64_t most = 0;
  for (const Replica& each : replicas_) most = std::max(most, each.rows);
  return std::vector<StrategyNeeds::Replay>(static_cast<std::size_t>(count), {most});
}

std::int64_t BufferReplay::least_buffer() const {
  if (view_.sequences.empty()) return 0;
  const TaskSequence& sequence = view_.sequences.front();
  if (fills_at_ends()) return static_cast<std::int64_t>(sequence.tasks.size());
  return view_.configs.front().text("buffer_rule") == "ring" ? kinds_of(sequence) : 0;
}

std::int64_t BufferReplay::most_capacity() const {
  std::int64_t most = 0;
  for (const Replica& each : replicas_) most = std::max(most, each.buffer.capacity());
  return most;
}

void BufferReplay::batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& current,
                         std::vector<std::vector<BatchRow>>& replays) {
  Replica& replica = replicas_[static_cast<std::size_t>(r)];
  for (std::size_t i = 0; i < replays.size(); ++i) {
    replica.buffer.replay(step, static_cast<std::int64_t>(i), replica.rows, replays[i]);
  }
  keep(r, current);
}

void BufferReplay::after_task(std::int64_t task,
                              const std::vector<std::vector<std::int64_t>>& examples) {
  if (!fills_at_ends()) return;
  for (std::size_t r = 0; r < replicas_.size(); ++r) {
    const auto tasks = static_cast<std::int64_t>(view_.sequences[r].tasks.size());
    ReplayBuffer& own = replicas_[r].buffer;
    own.add(memory_of_task(view_.configs[r], task, own.capacity() / tasks, examples[r]));
  }
}

void BufferReplay::keep(std::int64_t r, std::vector<BatchRow>& current) {
  Replica& replica = replicas_[static_cast<std::size_t>(r)];
  for (std::size_t i = 0; i < current.size(); ++i) {
    const std::int64_t kind = replica.buffer.knows_kinds() ? kind_of(r, current[i].example) : 0;
    current[i].enters = replica.buffer.offer(current[i].example, kind);
    if (current[i].enters < 0) continue;
    // Of two that enter one place the later one stays.
    for (std::size_t j = 0; j < i; ++j) {
      if (current[j].enters == current[i].enters) current[j].enters = -1;
    }
  }
}

at::Tensor BufferReplay::one_mean(const StepView& view) {
  std::vector<at::Tensor> rows;
  for (const std::size_t role : {0, 1}) {
    rows.push_back(view.of(role, view.mean).gt(0).to(view.mean.scalar_type()).sum(1));
  }
  return torch::stack(rows, 1) / (rows[0] + rows[1]).clamp_min(1).unsqueeze(1);
}

at::Tensor BufferReplay::mean_square(const StepView& view, const at::Tensor& targets) {
  const at::Tensor share = view.of(1, view.mean);
  const at::Tensor squares = (view.of(1, view.logits) - targets).square();
  if (!view.allowed.defined()) return (squares.mean(-1) * share).sum(1);
  const at::Tensor counts = view.of(1, view.allowed).to(squares.scalar_type());
  return ((squares * counts).sum(-1) / counts.sum(-1).clamp_min(1) * share).sum(1);
}

NamedTensors BufferReplay::save(std::int64_t r) const {
  const ReplayBuffer& own = replicas_[static_cast<std::size_t>(r)].buffer;
  NamedTensors all = {{name_ + ".buffer", integers_tensor(own.buffer())},
                      {name_ + ".seen", integers_tensor({own.seen()})}};
  // Read in the order of names, so that the buffer is there when these are.
  if (own.knows_kinds()) all.emplace_back(name_ + ".counts", integers_tensor(own.counts()));
  return all;
}

void BufferReplay::load(std::int64_t r, const std::string& name, const at::Tensor& values) {
  ReplayBuffer& own = replicas_[static_cast<std::size_t>(r)].buffer;
  if (name == name_ + ".buffer" && values.numel() <= own.capacity()) {
    own.restore_buffer(integers_in(values));
  } else if (name == name_ + ".seen" && values.numel() == 1) {
    own.restore_seen(integers_in(values).front());
  } else if (name == name_ + ".counts" && own.knows_kinds() &&
             values.numel() == static_cast<std::int64_t>(own.counts().size())) {
    own.restore_counts(integers_in(values),
                       [this, r](std::int64_t example) { return kind_of(r, example); });
  } else {
    refuse_state(
        name_, name, values,
        fmt::format("{0}.buffer with up to {1} and {0}.seen with one", name_, own.capacity()));
  }
}

}  // namespace tandem
