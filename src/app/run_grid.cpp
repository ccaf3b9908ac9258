#include "app/run_grid.h"

#include <fmt/format.h>

#include <map>

#include "analysis/table_plan.h"
#include "app/execute.h"
#include "app/tune.h"
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

}  // namespace

ExitCode run_grid(const Grid& grid, std::int64_t stop_after_steps) {
  for (const TableSpec& table : grid.tables) plan_table(table);  // its errors come before the work
  if (grid.tune.empty()) return run_round(grid, grid.name, grid.runs, stop_after_steps);
  const std::vector<TuningTrial> trials = tuning_trials(grid);
  std::vector<Config> runs;
  for (const TuningTrial& trial : trials) runs.push_back(trial.run);
  const ExitCode code = run_round(grid, grid.name + "/tuning", runs, stop_after_steps);
  if (code != kExitDone) return code;
  const std::string database = grid.runs.front().text("db");
  const TunedGrid tuned = choose(grid, trials, StoreReader(database));
  StoreWriter(database).add_tuning(tuned.records);
  for (const std::string& warning : tuned.warnings) log_warn(warning);
  return run_round(grid, grid.name, tuned.runs, stop_after_steps);
}

}  // namespace tandem
