// The engine on one group of replicas, for benchmarks: steps of its first stage, from a step on.
#pragma once

#include <cstdint>
#include <vector>

#include "train/trainer.h"

namespace tandem {

class EngineRun {
 public:
  explicit EngineRun(const std::vector<Config>& runs, const TrainerOptions& options = {},
                     std::int64_t first = 0)
      : trainer_(runs, options), in_stage_(first) {
    trainer_.begin_stage(0);
  }

  // Takes so many steps and says in how many of them a topology update took place.
  std::int64_t run(std::int64_t steps);
  Trainer& trainer() { return trainer_; }

 private:
  Trainer trainer_;
  std::int64_t in_stage_;
};

}  // namespace tandem
