// A sampler decides the order in which a run sees its examples. The order is a pure function of
// (key, task, step), so that a checkpoint keeps nothing of it and no other run can shift it. `key`
// is run_key(config, "data") of config/seeds.h.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

// Shuffles 0..n-1 by Fisher and Yates with the draws of one stream key.
std::vector<std::int64_t> permutation(std::uint64_t key, std::int64_t n);

// Gives batches of positions 0..n-1 without replacement; each epoch has a permutation of its own,
// or all have them as they are.
class EpochSampler {
 public:
  // Both n and batch are at least 1. drop_last: batches that are not full are left out, unless
  // there is no other. in_order: positions are not permuted.
  EpochSampler(std::uint64_t key, std::int64_t task, std::int64_t n, std::int64_t batch,
               bool drop_last = false, bool in_order = false);

  std::int64_t steps_per_epoch() const { return epoch_steps(n_, batch_, drop_last_); }
  static std::int64_t epoch_steps(std::int64_t n, std::int64_t batch, bool drop_last) {
    return drop_last && n >= batch ? n / batch : (n + batch - 1) / batch;
  }
  // `step` counts within the task, from 0. The last batch of an epoch may be shorter than `batch`.
  // The permutation of the epoch that was asked for last is kept.
  std::vector<std::int64_t> batch(std::int64_t step);

 private:
  std::uint64_t key_;
  std::int64_t n_, batch_;
  bool drop_last_, in_order_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
};

// The places where windows of context + 1 bytes may start within ranges of a corpus, in order.
class WindowStarts {
 public:
  // `edges` are {begin, end, begin, end, ...}. Throws ConfigError where a range holds no window.
  WindowStarts(const std::vector<std::int64_t>& edges, std::int64_t context);

  std::int64_t count() const { return count_; }
  std::int64_t at(std::int64_t i) const;  // the i-th of count()
  // Starts of windows whose first `context` bytes lie side by side in each range.
  std::vector<std::int64_t> side_by_side() const;
  // How many windows it takes for as many targets as there are bytes in the ranges, rounded up.
  std::int64_t windows() const;
  std::int64_t bytes() const;  // of the ranges

 private:
  std::vector<std::int64_t> edges_;
  std::int64_t context_, count_ = 0;
};

// Gives starts of windows, uniform over those that there are, with replacement.
class ByteSampler {
 public:
  ByteSampler(std::uint64_t key, std::int64_t task, WindowStarts starts, std::int64_t batch);

  std::vector<std::int64_t> batch(std::int64_t step) const;

 private:
  std::uint64_t key_;
  WindowStarts starts_;
  std::int64_t batch_;
};

}  // namespace tandem
