// This has what scenarios with several tasks share: how a data set becomes tasks (`tasks_by`). By
// class each task has some of the classes and their examples: of C classes each of T tasks has
// C / T, and the first C mod T have one more, or as many as `task_classes` says; by permutation or
// rotation each has all of them, and sees the inputs in its own way (Kirkpatrick et al. 2017, arXiv
// 1612.00796; Lopez-Paz and Ranzato 2017, arXiv 1706.08840), of generated sequences by a
// permutation of the tokens; by corpus each is a part of a byte corpus. `online` changes nothing
// here: the step loop then makes one pass over each task's training examples, whatever `epochs` and
// `steps` say. Nor does `blur`, which mixes what steps near a switch take (train/batches.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "continual/scenario.h"
#include "data/dataset.h"

namespace tandem {

// Returns 0..classes-1 as they are (class_order natural), permuted by the run's stream "classes"
// (random) or as class_order lists them; a list that lacks one or has one twice is a ConfigError.
std::vector<std::int64_t> class_order(const Config& config, std::int64_t classes);

// Makes tasks, and targets such that each class of each task has an output of its own, side by side
// in the order of tasks. Throws ConfigError where the data set has no classes, where there are more
// tasks than classes to be split, or where a task is left without training examples.
TaskSequence split_tasks(const Config& config, const Dataset& data);

// Returns the facts of a scenario that split_tasks() makes.
Part split_facts(const std::string& name, const std::string& summary, const std::string& file,
                 int revision = 1);

}  // namespace tandem
