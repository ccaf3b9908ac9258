// What a run trains on, stage by stage: a task each, or all of them as one where a strategy joins
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "data/dataset.h"
#include "nn/model.h"
#include "plan/plan.h"

namespace tandem {

// Training examples of stage `stage` (from 0), each as one of its task (data/example.h), by their
// places in the data set, ascending; none of a byte corpus, whose windows start anywhere.
std::vector<std::int64_t> stage_examples(const TaskSequence& sequence, std::int64_t stage,
                                         bool joined);
// How many these are.
std::int64_t stage_size(const TaskSequence& sequence, std::int64_t stage, bool joined);

// Rows of the network's matrices per example: the windows' positions of a byte corpus, else 1.
double rows_per_example(const Config& config, const Dataset& data);

// What the data make of a network whose weights come with its connections.
ModelShape network_shape(const Dataset& data, const TaskSequence& sequence);

// Lengths of the stages of a run on its data; an epoch of a byte corpus has as many windows as
// cover it.
Timeline timeline_on(const Config& config, const Dataset& data, const TaskSequence& sequence,
                     bool joined);

}  // namespace tandem
