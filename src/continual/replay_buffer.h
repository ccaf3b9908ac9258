// Buffers of examples that were seen, and the strategies that replay from one. Vitter's algorithm R
// (ACM TOMS 1985): the n-th example seen, from 0, enters place j of the buffer for a uniform j in
// 0..n, if that is below the capacity.
#pragma once

#include <cstdint>
#include <functional>
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

// At most `most` of a task's examples, each set of them equally likely.
std::vector<std::int64_t> memory_of_task(const Config& config, std::int64_t task, std::int64_t most,
                                         const std::vector<std::int64_t>& examples);

// A buffer of examples, and which of those that are seen it keeps (`buffer_rule`):
//   reservoir  a uniform sample of all (Vitter's algorithm R)
//   ring       of each kind the latest, buffer / kinds of them (Chaudhry et al., arXiv 1902.10486)
//   balanced   as many of each kind as the stream allows, and of one kind a uniform sample
//              (class-balancing reservoir sampling, Chrysakis and Moens, ICML 2020)
//   task_ends  buffer / tasks of each task, drawn when it has ended, so that nothing of the current
//              task is replayed
// A kind is a class; where tasks share classes it is a class of a task.
class ReplayBuffer {
 public:
  // `buffer` examples at most, of so many kinds; random numbers of the run's stream "replay".
  ReplayBuffer(const Config& config, std::int64_t kinds);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t held() const { return static_cast<std::int64_t>(buffer_.size()); }
  bool knows_kinds() const { return rule_ == Rule::kRing || rule_ == Rule::kBalanced; }
  bool fills_at_ends() const { return rule_ == Rule::kTaskEnds; }
  // Of a task that has ended.
  void add(const std::vector<std::int64_t>& examples) {
    buffer_.insert(buffer_.end(), examples.begin(), examples.end());
  }
  // Appends `most` rows of the buffer, or all of it where it holds fewer, drawn without replacement
  // and each set equally likely: draw number `draw` of the run's step.
  void replay(std::int64_t step, std::int64_t draw, std::int64_t most,
              std::vector<BatchRow>& rows) const;
  // Another example was seen. Returns the place that it enters; -1: none.
  std::int64_t offer(std::int64_t example, std::int64_t kind);

  const std::vector<std::int64_t>& buffer() const { return buffer_; }
  std::int64_t seen() const { return seen_; }
  // Of each kind, how many were seen, and whether it was ever one of the largest of a full buffer;
  // empty where nothing asks for kinds.
  std::vector<std::int64_t> counts() const;
  // The counts come after the buffer. kind_of says the kind of each example.
  void restore_buffer(std::vector<std::int64_t> buffer) { buffer_ = std::move(buffer); }
  void restore_seen(std::int64_t seen) { seen_ = seen; }
  void restore_counts(const std::vector<std::int64_t>& counts,
                      const std::function<std::int64_t(std::int64_t)>& kind_of);

 private:
  enum class Rule { kReservoir, kRing, kBalanced, kTaskEnds };
  struct Kind {
    std::int64_t seen = 0;
    bool full = false;                 // it was one of the largest
    std::vector<std::int64_t> places;  // ascending
  };

  std::int64_t offer_to_reservoir(std::int64_t example);
  std::int64_t offer_to_ring(std::int64_t example, Kind& kind);
  std::int64_t offer_balanced(std::int64_t example, Kind& kind);
  std::int64_t append(std::int64_t example, Kind& kind);

  Rule rule_;
  RandomStream places_, choices_;
  std::uint64_t key_;
  std::int64_t capacity_, seen_ = 0;
  std::vector<std::int64_t> buffer_;
  std::vector<Kind> kinds_;
};

// Examples that a step replays: replay_batch, or as many as batch where it says 0.
std::int64_t replay_rows(const Config& config);

// A strategy that replays from a buffer, each replay drawn for itself from the buffer as it was
// before the current examples entered it; an example enters anew each time that it is seen, the
// first task's too (as in DER, Buzzega et al. 2020, arXiv 2004.07211).
class BufferReplay : public Strategy {
 public:
  explicit BufferReplay(StrategyView view);

  void batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& current,
             std::vector<std::vector<BatchRow>>& replays) override;
  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override;
  std::int64_t examples_held(std::int64_t r) const override { return buffer(r).held(); }
  NamedTensors save(std::int64_t r) const override;
  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override;

  // Weights of roles 0 and 1 that make their means one over all of their rows, [R,2].
  static at::Tensor one_mean(const StepView& view);

 protected:
  // So many replays of a step, with room for the largest of the group.
  std::vector<StrategyNeeds::Replay> replays(std::int64_t count) const;
  // What batch() does with the current examples: they enter the buffer, or not.
  void keep(std::int64_t r, std::vector<BatchRow>& current);
  const ReplayBuffer& buffer(std::int64_t r) const {
    return replicas_[static_cast<std::size_t>(r)].buffer;
  }
  // The mean over replayed rows, and the outputs that take part in each, of the squares of what
  // they are away from `targets`, beside view.of(1, view.logits); [R].
  static at::Tensor mean_square(const StepView& view, const at::Tensor& targets);
  // A ring has a place for each kind, and what is filled at ends of tasks one for each task.
  std::int64_t least_buffer() const;
  bool fills_at_ends() const { return replicas_.front().buffer.fills_at_ends(); }
  std::int64_t most_capacity() const;
  const std::string& name() const { return name_; }

 private:
  std::int64_t kind_of(std::int64_t r, std::int64_t example) const;

  struct Replica {
    ReplayBuffer buffer;
    std::int64_t rows;
  };
  std::string name_;  // of the strategy, and the first word of what it saves
  std::vector<Replica> replicas_;
};

}  // namespace tandem
