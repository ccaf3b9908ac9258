// Experience replay (Chaudhry et al., arXiv 1902.10486) from a reservoir of example indices
// (Vitter's algorithm R, ACM TOMS 1985): the n-th example seen, from 0, enters place j of the
// buffer for a uniform j in 0..n, if that is below the capacity.
// As in DER (arXiv 2004.07211): replay is drawn without replacement from the buffer as it was
// before the current examples enter it, the first task replays too, and an example enters anew each
// time it is seen. A buffer smaller than replay_batch is replayed whole.
#include <fmt/format.h>

#include <algorithm>

#include "config/seeds.h"
#include "continual/strategy.h"
#include "core/error.h"
#include "core/philox.h"

namespace tandem {
namespace {

constexpr const char* kBufferName = "er.buffer";
constexpr const char* kSeenName = "er.seen";

std::int64_t replay_examples(const Config& config) {
  const std::int64_t said = config.integer("replay_batch");
  return said > 0 ? said : config.integer("batch");
}

// Appends k of the items of `from`, without replacement and each set equally likely (Floyd).
void draw_without_replacement(const RandomStream& stream, std::int64_t k,
                              const std::vector<std::int64_t>& from,
                              std::vector<std::int64_t>& to) {
  const std::int64_t n = static_cast<std::int64_t>(from.size());
  std::vector<bool> taken(from.size(), false);
  for (std::int64_t last = n - k; last < n; ++last) {
    const auto draw = static_cast<std::uint64_t>(last);
    const auto drawn = static_cast<std::int64_t>(stream.below(draw, draw + 1));
    const std::int64_t place = taken[drawn] ? last : drawn;
    taken[place] = true;
    to.push_back(from[place]);
  }
}

class ExperienceReplay : public Strategy {
 public:
  explicit ExperienceReplay(StrategyView view) : Strategy(std::move(view)) {
    for (const Config& config : view_.configs) {
      const std::uint64_t key = run_key(config, "replay");
      replicas_.push_back({.reservoir = {sub_key(key, 0)},
                           .replay_key = sub_key(key, 1),
                           .capacity = config.integer("buffer"),
                           .replay_batch = replay_examples(config)});
    }
  }

  std::int64_t replay_slots() const override {
    std::int64_t most = 0;
    for (const Replica& each : replicas_) most = std::max(most, each.replay_batch);
    return most;
  }

  void batch(std::int64_t r, std::int64_t step, const std::vector<std::int64_t>& current,
             std::vector<std::int64_t>& replay) override {
    Replica& replica = replicas_[r];
    const auto held = static_cast<std::int64_t>(replica.buffer.size());
    const RandomStream draws{sub_key(replica.replay_key, static_cast<std::uint64_t>(step))};
    draw_without_replacement(draws, std::min(held, replica.replay_batch), replica.buffer, replay);
    for (const std::int64_t example : current) replica.offer(example);
  }

  std::vector<std::pair<std::string, std::vector<std::int64_t>>> save(
      std::int64_t r) const override {
    return {{kBufferName, replicas_[r].buffer}, {kSeenName, {replicas_[r].seen}}};
  }

  void load(std::int64_t r, const std::string& name,
            const std::vector<std::int64_t>& values) override {
    Replica& replica = replicas_[r];
    const auto size = static_cast<std::int64_t>(values.size());
    if (name == kBufferName && size <= replica.capacity) {
      replica.buffer = values;
    } else if (name == kSeenName && size == 1) {
      replica.seen = values[0];
    } else {
      throw StoreError(
          fmt::format("a checkpoint holds '{}' with {} values; strategy er expects {} with up to "
                      "{} and {} with "
                      "one. It is of another run or damaged: remove it to start the run anew",
                      name, size, kBufferName, replica.capacity, kSeenName));
    }
  }

 private:
  struct Replica {
    RandomStream reservoir;
    std::uint64_t replay_key = 0;
    std::int64_t capacity = 0, replay_batch = 0;
    std::int64_t seen = 0;
    std::vector<std::int64_t> buffer = {};

    void offer(std::int64_t example) {
      const auto n = static_cast<std::uint64_t>(seen++);
      if (static_cast<std::int64_t>(buffer.size()) < capacity) {
        buffer.push_back(example);
        return;
      }
      const std::uint64_t place = reservoir.below(n, n + 1);
      if (place < static_cast<std::uint64_t>(capacity)) buffer[place] = example;
    }
  };
  std::vector<Replica> replicas_;
};

std::unique_ptr<Strategy> make_er(StrategyView view) {
  return std::make_unique<ExperienceReplay>(std::move(view));
}

[[maybe_unused]] const bool kEr =
    strategies().add({.kind = "strategy",
                      .name = "er",
                      .summary = "experience replay from a reservoir of examples",
                      .cite = "1902.10486",
                      .uses = {"buffer", "replay_batch"},
                      .file = __FILE__},
                     make_er);

}  // namespace
}  // namespace tandem
