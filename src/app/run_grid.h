// Runs a grid to its end: in one round, or, with a [tune] section, the trials (stored as grid
// NAME/tuning) and then the runs at what they chose.
//
// The file says which runs a grid has. The command line says which of them are run now; what it
// makes different from all of them is run and stored, but is not of the grid.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analysis/wanted_runs.h"
#include "app/run_content.h"
#include "app/tune.h"
#include "config/grid.h"
#include "core/error.h"

namespace tandem {

struct GridRequest {
  Grid file;                         // as it stands, with what the command line says of the program
  Grid now;                          // with all that the command line says
  std::vector<std::string> changes;  // options of a run that it says, as "seed = 1"
};

// Throws ConfigError as read_grid() does, and what with_found_content() throws.
GridRequest read_grid_request(const std::string& path, const Settings& overrides, ContentUse use);

// The grid files that a path names: itself, or of a folder those that end in .ini, by name. Throws
// ConfigError for a folder without any.
std::vector<std::string> grid_files(const std::string& path);

// What the database has of the tuning of both, read once.
struct RequestState {
  TuningState file, now;
};
RequestState state_of(const GridRequest& request);

// All that can be told before the first step, for `grid plan` and `grid run` alike. Throws
// ConfigError: for tables and contrasts that can't be made, runs that can't be trained, tuning
// without a validation split, a name that is another grid's in the database.
void check_grid(const GridRequest& request, const RequestState& state);

// What is said of those of the runs that the command line makes, and the file doesn't have; ""
// where all are the file's.
std::string outside_note(const GridRequest& request, const RequestState& state,
                         const std::vector<Config>& runs);

ExitCode run_grid(const GridRequest& request, std::int64_t stop_after_steps = 0);

// The runs that a table of the file shows, and the trials that a figure of it shows. Of a tuned
// grid they follow from what the database has; it need not exist.
WantedRuns wanted_runs(const Grid& file, const std::string& database);
WantedRuns wanted_trials(const Grid& file, const std::string& database);

}  // namespace tandem
