// What `tandem run` and `tandem grid` share: from resolved configs to a database with their
// results.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/option.h"
#include "jobs/planner.h"
#include "jobs/worker_pool.h"

namespace tandem {

struct GridNote {  // the grid that asks for the runs
  std::string name, file, text;
  std::vector<std::string> runs;  // ids of all that belong to it, run now or not
};

struct Execution {
  std::vector<Config> runs;  // at least one; program options are read from the first
  std::optional<GridNote> grid;
  std::int64_t stop_after_steps = 0;
};

struct ExecutionReport {
  std::size_t asked = 0, finished_before = 0;
  PoolResult pool;
};

// --db, or its default, for a command that reads results. Throws ConfigError where an option of a
// run is said, which would select nothing.
std::string database_of(const Settings& settings);

// Throws for the first thing that a run would be refused for while it trains (jobs/run_check.h).
void check_runs(const std::vector<Config>& runs);
// What would be done, of runs that are checked first; reads the database where there is one.
GridPlan plan_execution(const std::vector<Config>& runs);
ExecutionReport execute(const Execution& execution);

// One line for the log, and the exit code: 75 when stopped, else that of the first failure.
std::string describe(const ExecutionReport& report);
ExitCode exit_code(const ExecutionReport& report);

Option stop_after_steps_option();

}  // namespace tandem
