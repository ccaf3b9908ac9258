// Runs whose steps a test writes out: plain gradient descent, and the batch of each step.
#pragma once

#include <vector>

#include "config/seeds.h"
#include "data/sampler.h"
#include "data/tensor.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test {

inline Config plain_run(Settings said) {
  const Settings plain = {{"momentum", "0"}, {"weight_decay", "0"}, {"clip", "0"}, {"steps", "8"}};
  said.insert(plain.begin(), plain.end());
  return small_run(said);
}

inline TrainerOptions in_double() {
  TrainerOptions options;
  options.dtype = torch::kFloat64;
  return options;
}

// Of every replica, [R,...].
inline Batch batch_at(const Trainer& trainer, std::int64_t step) {
  std::vector<std::vector<std::int64_t>> examples;
  std::size_t width = 0;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    const Config& config = trainer.run(r).config;
    const std::vector<std::int64_t>& train = trainer.tasks(r).tasks.front().train.places();
    EpochSampler sampler(run_key(config, "data"), 0, static_cast<std::int64_t>(train.size()),
                         config.integer("batch"));
    examples.push_back(sampler.batch(step));
    for (std::int64_t& each : examples.back()) each = train[static_cast<std::size_t>(each)];
    width = std::max(width, examples.back().size());
  }
  return trainer.batches().make(examples, static_cast<std::int64_t>(width), OutputsOf::kAll);
}

}  // namespace tandem::test
