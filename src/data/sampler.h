// A sampler decides the order in which a run sees its examples. The order is a pure function of
// (key, task, step), so that a checkpoint keeps nothing of it and no other run can shift it. `key`
// is run_key(config, "data") of config/seeds.h.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

// Shuffles 0..n-1 by Fisher and Yates with the draws of one stream key.
std::vector<std::int64_t> permutation(std::uint64_t key, std::int64_t n);

// Gives batches of positions 0..n-1 without replacement; each epoch has a permutation of its own.
class EpochSampler {
 public:
  // Both n and batch are at least 1. drop_last: batches that are not full are left out, unless
  // there is no other.
  EpochSampler(std::uint64_t key, std::int64_t task, std::int64_t n, std::int64_t batch,
               bool drop_last = false);

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
  bool drop_last_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
};

// Gives starts of windows of context + 1 bytes, uniform in [begin, end - context - 1], with
// replacement.
class ByteSampler {
 public:
  // Throws ConfigError where the range holds no window.
  ByteSampler(std::uint64_t key, std::int64_t task, std::int64_t begin, std::int64_t end,
              std::int64_t context, std::int64_t batch);

  // Returns the number of steps whose targets are as many as the range has, rounded up.
  std::int64_t steps_per_epoch() const;
  std::vector<std::int64_t> batch(std::int64_t step) const;

 private:
  std::uint64_t key_;
  std::int64_t begin_, end_, context_, batch_;
};

}  // namespace tandem
