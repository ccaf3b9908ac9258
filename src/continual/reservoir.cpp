#include "continual/reservoir.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/seeds.h"

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

Reservoir::Reservoir(const Config& config)
    : places_{sub_key(run_key(config, "replay"), 0)},
      key_(run_key(config, "replay")),
      capacity_(config.integer("buffer")) {}

void Reservoir::replay(std::int64_t step, std::int64_t draw, std::int64_t most,
                       std::vector<BatchRow>& rows) const {
  const RandomStream stream{sub_key(sub_key(key_, static_cast<std::uint64_t>(1 + draw)),
                                    static_cast<std::uint64_t>(step))};
  draw_rows(stream, most, buffer_, rows);
}

std::int64_t Reservoir::offer(std::int64_t example) {
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

std::int64_t replay_rows(const Config& config) {
  const std::int64_t said = config.integer("replay_batch");
  return said > 0 ? said : config.integer("batch");
}

ReservoirReplay::ReservoirReplay(StrategyView view)
    : Strategy(std::move(view)), name_(view_.configs.front().text("strategy")) {
  for (const Config& config : view_.configs) {
    replicas_.push_back({Reservoir(config), replay_rows(config)});
  }
}

std::vector<StrategyNeeds::Replay> ReservoirReplay::replays(std::int64_t count) const {
  std::int64_t most = 0;
  for (const Replica& each : replicas_) most = std::max(most, each.rows);
  return std::vector<StrategyNeeds::Replay>(static_cast<std::size_t>(count), {most});
}

std::int64_t ReservoirReplay::most_capacity() const {
  std::int64_t most = 0;
  for (const Replica& each : replicas_) most = std::max(most, each.reservoir.capacity());
  return most;
}

void ReservoirReplay::batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& current,
                            std::vector<std::vector<BatchRow>>& replays) {
  Replica& replica = replicas_[static_cast<std::size_t>(r)];
  for (std::size_t i = 0; i < replays.size(); ++i) {
    replica.reservoir.replay(step, static_cast<std::int64_t>(i), replica.rows, replays[i]);
  }
  for (std::size_t i = 0; i < current.size(); ++i) {
    current[i].enters = replica.reservoir.offer(current[i].example);
    if (current[i].enters < 0) continue;
    // Of two that enter one place the later one stays.
    for (std::size_t j = 0; j < i; ++j) {
      if (current[j].enters == current[i].enters) current[j].enters = -1;
    }
  }
}

NamedTensors ReservoirReplay::save(std::int64_t r) const {
  const Reservoir& own = replicas_[static_cast<std::size_t>(r)].reservoir;
  return {{name_ + ".buffer", integers_tensor(own.buffer())},
          {name_ + ".seen", integers_tensor({own.seen()})}};
}

void ReservoirReplay::load(std::int64_t r, const std::string& name, const at::Tensor& values) {
  Reservoir& own = replicas_[static_cast<std::size_t>(r)].reservoir;
  if (name == name_ + ".buffer" && values.numel() <= own.capacity()) {
    own.restore_buffer(integers_in(values));
  } else if (name == name_ + ".seen" && values.numel() == 1) {
    own.restore_seen(integers_in(values).front());
  } else {
    refuse_state(
        name_, name, values,
        fmt::format("{0}.buffer with up to {1} and {0}.seen with one", name_, own.capacity()));
  }
}

}  // namespace tandem
