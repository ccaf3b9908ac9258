// A scenario is a sequence of tasks. A plain run is the scenario `single`: one task with
// everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "data/dataset.h"

namespace tandem {

struct Task {
  std::int64_t number = 1;            // from 1
  std::vector<std::int64_t> classes;  // data-set classes in it; empty for byte corpora
  std::vector<std::int64_t> train, validation, test;  // as in Dataset
};

struct TaskSequence {
  std::vector<Task> tasks;
  std::int64_t outputs = 0;                 // width of the network's output
  std::vector<std::int64_t> target;         // data-set class -> output; empty: identity
  std::vector<std::int64_t> task_of_class;  // data-set class -> task number; empty: always 1
  bool mask_training = false;  // the loss sees only the outputs of the example's own task (task-IL)
  bool mask_evaluation = false;  // so does the read-out (task-IL)
  bool masked_readout = false;   // evaluate once more with the logits masked to the task (class-IL)
  // Returns the outputs of task t (numbers from 1), the range [first, last).
  std::vector<std::pair<std::int64_t, std::int64_t>> task_outputs;
};

using ScenarioFactory = TaskSequence (*)(const Config&, const Dataset&);
Registry<ScenarioFactory>& scenarios();
TaskSequence make_tasks(const Config& config, const Dataset& data);

}  // namespace tandem
