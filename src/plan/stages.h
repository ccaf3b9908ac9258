// What a run trains on, stage by stage: a task each, as a rule.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "continual/strategy.h"
#include "data/dataset.h"
#include "data/sampler.h"
#include "nn/model.h"
#include "plan/plan.h"

namespace tandem {

// The stages of a run; what it is made of must outlive it.
class Stages {
 public:
  Stages(const Config& config, const Dataset& data, const TaskSequence& sequence, StageData kind)
      : config_(config), data_(data), sequence_(sequence), kind_(kind) {}

  std::int64_t count() const;
  // Training examples of stage `stage` (from 0), each as one of its task (data/example.h), by their
  // places in the data set, ascending within what was joined; none of a byte corpus, whose windows
  // start anywhere within ranges.
  std::vector<std::int64_t> examples(std::int64_t stage) const;
  // Where windows of a byte corpus may start in a stage, and as one of which task a window is seen.
  WindowStarts windows(std::int64_t stage) const;
  std::int64_t task_of_window(std::int64_t start) const;
  std::int64_t size(std::int64_t stage) const;  // how many these are
  bool in_order(std::int64_t stage) const;      // they come as they are listed, not shuffled
  // Lengths of the stages; an epoch of a byte corpus has as many windows as cover it. `steps` are
  // per task: where all are one stage it has those of all.
  Timeline timeline() const;

 private:
  bool has(const Task& task, std::int64_t stage) const;

  const Config& config_;
  const Dataset& data_;
  const TaskSequence& sequence_;
  StageData kind_;
};

// The memory of GDumb's greedy sampler (algorithm 1 of Prabhu et al. 2020) with room for k
// examples, after the tasks up to stage `stage`, each task's examples coming in an order of the
// run's stream "replay": an example enters while its class has fewer than k / (classes seen) of
// them, rounded down; where the memory is full, a random one of a class that has most gives way.
std::vector<std::int64_t> balanced_memory(const Config& config, const Dataset& data,
                                          const TaskSequence& sequence, std::int64_t stage);

// Rows of the network's matrices per example: the tokens of a sequence, else 1.
double rows_per_example(const Config& config, const Dataset& data);

// What the data make of a network whose weights come with its connections.
ModelShape network_shape(const Dataset& data, const TaskSequence& sequence);

}  // namespace tandem
