// A buffer of examples that is a uniform sample of all examples seen so far (Vitter's algorithm R,
// ACM TOMS 1985): the n-th example seen, from 0, enters place j of the buffer for a uniform j in
// 0..n, if that is below the capacity. And the strategies that replay from one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "continual/strategy.h"
#include "core/philox.h"

namespace tandem {

// `count` of the places 0..of-1, without replacement and each set equally likely (Floyd's
// algorithm, CACM 1987).
std::vector<std::int64_t> draw_places(const RandomStream& stream, std::int64_t count,
                                      std::int64_t of);

// Appends `most` rows of a buffer so drawn, or all of it where it holds fewer.
void draw_rows(const RandomStream& stream, std::int64_t most,
               const std::vector<std::int64_t>& buffer, std::vector<BatchRow>& rows);

class Reservoir {
 public:
  // `buffer` examples at most; random numbers of the run's stream "replay".
  explicit Reservoir(const Config& config);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t held() const { return static_cast<std::int64_t>(buffer_.size()); }
  // Appends `most` rows of the buffer, or all of it where it holds fewer, drawn without replacement
  // and each set equally likely: draw number `draw` of the run's step.
  void replay(std::int64_t step, std::int64_t draw, std::int64_t most,
              std::vector<BatchRow>& rows) const;
  // Another example was seen. Returns the place that it enters; -1: none.
  std::int64_t offer(std::int64_t example);

  const std::vector<std::int64_t>& buffer() const { return buffer_; }
  std::int64_t seen() const { return seen_; }
  void restore_buffer(std::vector<std::int64_t> buffer) { buffer_ = std::move(buffer); }
  void restore_seen(std::int64_t seen) { seen_ = seen; }

 private:
  RandomStream places_;
  std::uint64_t key_;
  std::int64_t capacity_, seen_ = 0;
  std::vector<std::int64_t> buffer_;
};

// Examples that a step replays: replay_batch, or as many as batch where it says 0.
std::int64_t replay_rows(const Config& config);

// A strategy that replays from a reservoir, each replay drawn for itself from the buffer as it was
// before the current examples entered it; an example enters anew each time that it is seen, the
// first task's too (as in DER, Buzzega et al. 2020, arXiv 2004.07211).
class ReservoirReplay : public Strategy {
 public:
  explicit ReservoirReplay(StrategyView view);

  void batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& current,
             std::vector<std::vector<BatchRow>>& replays) override;
  NamedTensors save(std::int64_t r) const override;
  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override;

 protected:
  // So many replays of a step, with room for the largest of the group.
  std::vector<StrategyNeeds::Replay> replays(std::int64_t count) const;
  std::int64_t most_capacity() const;
  const std::string& name() const { return name_; }

 private:
  struct Replica {
    Reservoir reservoir;
    std::int64_t rows;
  };
  std::string name_;  // of the strategy, and the first word of what it saves
  std::vector<Replica> replicas_;
};

}  // namespace tandem
