// This has what the scenarios that split a data set by class share: the order of classes, the
// classes of each task, and the examples that belong to them. `online` changes nothing here: the
// step loop then makes one pass over each task's training examples, whatever `epochs` and `steps`
// say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "continual/scenario.h"
#include "data/dataset.h"

namespace tandem {

// Returns 0..classes-1 as they are (class_order natural) or permuted by the run's stream "classes".
std::vector<std::int64_t> class_order(const Config& config, std::int64_t classes);

// Makes tasks, task_of_class, and targets such that each class has an output of its own, side by
// side in the order of tasks. Throws ConfigError where the data set has no classes, where `tasks`
// doesn't divide them, or where a task is left without training examples.
TaskSequence split_by_class(const Config& config, const Dataset& data);

// Returns the facts of a scenario that split_by_class() makes.
Part split_facts(const std::string& name, const std::string& summary, const std::string& file,
                 int revision = 1);

}  // namespace tandem
