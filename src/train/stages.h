// What a run trains on, stage by stage: a task each, or all of them as one where a strategy joins
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "data/dataset.h"
#include "train/plan.h"

namespace tandem {

// Training examples of stage `stage` (from 0), ascending; none of a byte corpus, whose windows
// start anywhere.
std::vector<std::int64_t> stage_examples(const TaskSequence& sequence, std::int64_t stage,
                                         bool joined);

// Lengths of the stages of a run on its data; an epoch of a byte corpus has as many windows as
// cover it.
Timeline timeline_on(const Config& config, const Dataset& data, const TaskSequence& sequence,
                     bool joined);

}  // namespace tandem
