// The rounds of a grid with [tune] sections. First every method (a cell without its seed) is tried
// at as many points of its axes, and further where the best lies at the end of a range; then its
// runs are those of the file at the point whose mean validation score was best, marked `final`, so
// that the test split is read once, after every choice. What is tried when: config/grid_trials.h.
//
// The score is accuracy (images) or minus the loss (bytes) on the validation split, at the run's
// own budgets. `tuned_for` names the read-out: full or sparse, as in a table's column, or own, the
// mean over the read-outs of the streams that the method trains: full for dense, sparse for RigL,
// both for ssa.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/grid_trials.h"
#include "store/store.h"

namespace tandem {

// What the grid's trials have come to; `database` need not exist, and is read only where the grid
// has [tune] sections. Throws ConfigError where a run is tuned for a read-out that its method
// doesn't have, or where a trial ended without results.
TuningState tuning_state(const Grid& grid, const std::string& database);

// What a grid's file stands for now, by the state that its tuning is in: without [tune] its runs;
// with it the trials and, once all of them have ended, the final runs at what they chose.
std::vector<Config> wanted_now(const Grid& grid, const TuningState& state);

// What belongs to a grid, as far as it is known: trials; and each of its runs at what was chosen,
// none where its trials have not ended. Without [tune] sections the runs as the file says them.
struct GridMembers {
  std::vector<Config> trials;
  std::vector<std::optional<Config>> runs;  // of each of grid.runs
};
GridMembers members_of(const Grid& grid, const TuningState& state);

// For the store. Of the cells that are complete.
std::vector<TuningRecord> tuning_records(const Grid& grid, const TuningState& state);
TuningPlanRecord tuning_plan(const Grid& grid, const TuningState& state);

// A line per cell: what was chosen, its score, the best rival.
std::string describe_choices(const TuningState& state);

}  // namespace tandem
