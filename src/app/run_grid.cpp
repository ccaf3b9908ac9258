#include "app/run_grid.h"

#include <fmt/format.h>

#include <map>

#include "analysis/table_contrast.h"
#include "analysis/table_plan.h"
#include "app/execute.h"
#include "app/tune.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text.h"

namespace tandem {
namespace {

void report_failures(const ExecutionReport& report) {
  std::map<std::string, std::vector<std::string>> by_message;
  for (const auto& failure : report.pool.failures) {
    by_message[failure.message].push_back(short_id(failure.run));
  }
  for (const auto& [message, runs] : by_message) {
    log_warn(fmt::format("{} failed: {} ({})", runs.size() == 1 ? "a run" : "runs", message,
                         join(runs, ", ")));
  }
}

ExitCode run_round(const Grid& grid, const std::string& name, const std::vector<Config>& runs,
                   std::int64_t stop_after_steps) {
  Execution execution;
  execution.runs = runs;
  execution.grid = GridNote{name, grid.file, grid.text};
  execution.stop_after_steps = stop_after_steps;
  const ExecutionReport report = execute(execution);
  report_failures(report);
  fmt::print("grid {}: {}\n", name, describe(report));
  return exit_code(report);
}

// Rounds of trials until no choice asks for more of them.
ExitCode tune(const Grid& grid, const std::string& database, std::int64_t stop_after_steps,
              TuningState& state) {
  state = tuning_state(grid, database);
  for (std::size_t tried = 0; tried < state.trials().size();) {
    const std::vector<Config> trials = state.trials();
    const ExitCode code = run_round(grid, grid.name + "/tuning", trials, stop_after_steps);
    if (code != kExitDone) return code;
    tried = trials.size();
    state = tuning_state(grid, database);
  }
  if (!state.complete()) throw StoreError("tuning trials of " + grid.name + " have not ended");
  return kExitDone;
}

}  // namespace

ExitCode run_grid(const Grid& grid, std::int64_t stop_after_steps) {
  // Their errors come before the work.
  for (const TableSpec& table : grid.tables) {
    check_contrasts(plan_table(table).contrasts, grid.runs);
  }
  check_runs(grid.runs);
  if (grid.tune.empty()) return run_round(grid, grid.name, grid.runs, stop_after_steps);
  const std::string database = grid.runs.front().text("db");
  if (path_exists(database)) StoreWriter migrated(database);  // before it is read
  TuningState state;
  const ExitCode code = tune(grid, database, stop_after_steps, state);
  if (code != kExitDone) return code;
  {
    StoreWriter writer(database);
    writer.add_tuning(tuning_records(grid, state));
    writer.add_tuning_plan(tuning_plan(grid, state));
  }
  fmt::print("{}", describe_choices(state));
  for (const std::string& warning : edge_warnings(state)) log_warn(warning);
  return run_round(grid, grid.name, final_runs(grid, state), stop_after_steps);
}

}  // namespace tandem
