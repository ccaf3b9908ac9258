// A strategy is what is done against forgetting. One object serves a group of R replicas; a hook
// that a strategy does not override costs nothing. Order within a run: before_task, then per step
// batch, loss, gradient, after_step, then after_task. State that belongs to a weight lives in named
// slots of its parameter (topology updates move it, checkpoints keep it); everything else goes
// through save and load. On a GPU loss and gradient are part of the captured step: no host branch
// on a tensor there, and what they do may change from task to task only; batch of some steps
// precedes after_step of these.
//
// Shapes: R replicas (runs of the group).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "continual/scenario.h"
#include "topology/parameter.h"

namespace tandem {

struct StrategyView {  // what a strategy may look at
  std::int64_t replicas = 1;
  std::vector<Config> configs;          // [R]
  std::vector<TaskSequence> sequences;  // [R]
  std::vector<Parameter*> parameters;   // of the model
};

class Strategy {
 public:
  explicit Strategy(StrategyView view) : view_(std::move(view)) {}
  virtual ~Strategy() = default;

  // All tasks are trained as one (joint training); they are still evaluated one by one.
  virtual bool joins_tasks() const { return false; }
  // Returns the most examples that batch() may append; the step's batch has room for them.
  virtual std::int64_t replay_slots() const { return 0; }

  virtual void before_task(std::int64_t /*task*/) {}
  // Replica r is about to learn `current` (example indices) at its step `step` of the run, counted
  // from 0; appends example indices to replay (at most replay_slots()).
  virtual void batch(std::int64_t /*r*/, std::int64_t /*step*/,
                     const std::vector<std::int64_t>& /*current*/,
                     std::vector<std::int64_t>& /*replay*/) {}
  // Returns an extra loss per replica [R], or nothing (undefined). It is called after the task
  // loss's forward pass.
  virtual at::Tensor loss() { return {}; }
  // This may change the parameters' gradients, before clipping.
  virtual void gradient() {}
  virtual void after_step(std::int64_t /*step*/) {}
  virtual void after_task(std::int64_t /*task*/) {}

  // These save and load the state of replica r outside of slots, as named integer lists.
  virtual std::vector<std::pair<std::string, std::vector<std::int64_t>>> save(
      std::int64_t /*r*/) const {
    return {};
  }
  virtual void load(std::int64_t /*r*/, const std::string& /*name*/,
                    const std::vector<std::int64_t>& /*values*/) {}

 protected:
  StrategyView view_;
};

using StrategyFactory = std::unique_ptr<Strategy> (*)(StrategyView);
Registry<StrategyFactory>& strategies();

}  // namespace tandem
