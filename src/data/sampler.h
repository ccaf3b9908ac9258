// The order in which a run sees its examples: a pure function of (key, task, step), so that a
// checkpoint keeps nothing of it and no other run can shift it.
// `key` is run_key(config, "data") of config/seeds.h.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

// Fisher-Yates over 0..n-1 with the draws of one stream key.
std::vector<std::int64_t> permutation(std::uint64_t key, std::int64_t n);

// Batches of positions 0..n-1 without replacement; each epoch has a permutation of its own.
class EpochSampler {
 public:
  // n and batch at least 1.
  EpochSampler(std::uint64_t key, std::int64_t task, std::int64_t n, std::int64_t batch);

  std::int64_t steps_per_epoch() const { return (n_ + batch_ - 1) / batch_; }
  // `step` counts within the task, from 0. The last batch of an epoch may be shorter than `batch`.
  // Keeps the permutation of the epoch asked for last.
  std::vector<std::int64_t> batch(std::int64_t step);

 private:
  std::uint64_t key_;
  std::int64_t n_, batch_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
};

// Starts of windows of context + 1 bytes, uniform in [begin, end - context - 1], with replacement.
class ByteSampler {
 public:
  // Throws ConfigError where the range holds no window.
  ByteSampler(std::uint64_t key, std::int64_t task, std::int64_t begin, std::int64_t end,
              std::int64_t context, std::int64_t batch);

  // Steps whose targets are as many as the range has, rounded up.
  std::int64_t steps_per_epoch() const;
  std::vector<std::int64_t> batch(std::int64_t step) const;

 private:
  std::uint64_t key_;
  std::int64_t begin_, end_, context_, batch_;
};

}  // namespace tandem
