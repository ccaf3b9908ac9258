#include "app/run_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "analysis/published.h"
#include "analysis/table_check.h"
#include "analysis/table_plan.h"
#include "app/execute.h"
#include "config/grid_file.h"
#include "config/option.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

std::string database_of(const GridRequest& request) { return request.now.runs.front().text("db"); }

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

std::vector<std::string> ids_of(const std::vector<Config>& runs) {
  std::vector<std::string> ids;
  for (const Config& run : runs) ids.push_back(run.id());
  return ids;
}

// Returns a sentence on runs that tables of the file won't show; "" where there are none.
std::string outside_text(const GridRequest& request, const std::string& name,
                         const std::vector<Config>& runs, const std::vector<std::string>& members) {
  if (request.changes.empty()) return "";
  const std::set<std::string> known(members.begin(), members.end());
  const auto outside = std::count_if(
      runs.begin(), runs.end(), [&known](const Config& run) { return known.count(run.id()) == 0; });
  if (outside == 0) return "";
  return fmt::format(
      "{} of {} runs are not of grid {}: the command line makes them different from what {} says "
      "({}); they are stored, but its tables leave them out",
      outside, runs.size(), name, request.file.file, join(request.changes, ", "));
}

// `members`: all runs of the stored grid `name`, whatever is run now.
ExitCode run_round(const GridRequest& request, const std::string& name,
                   const std::vector<Config>& runs, const std::vector<Config>& members,
                   std::int64_t stop_after_steps) {
  Execution execution;
  execution.runs = runs;
  execution.grid = GridNote{name, request.file.file, request.file.text, ids_of(members)};
  execution.stop_after_steps = stop_after_steps;
  const ExecutionReport report = execute(execution);
  report_failures(report);
  fmt::print("grid {}: {}\n", name, describe(report));
  return exit_code(report);
}

std::vector<Config> decided(const GridMembers& members) {
  std::vector<Config> runs;
  for (const auto& run : members.runs) {
    if (run) runs.push_back(*run);
  }
  return runs;
}

void warn_of_outside(const GridRequest& request, const std::string& name,
                     const std::vector<Config>& runs, const std::vector<Config>& members) {
  const std::string outside = outside_text(request, name, runs, ids_of(members));
  if (!outside.empty()) log_warn(outside);
}

// Rounds of trials until no choice asks for more of them. What is outside of the grid is said of
// the first round.
ExitCode tune(const GridRequest& request, std::int64_t stop_after_steps, RequestState& state) {
  const std::string name = request.now.name + kTuningSuffix;
  for (std::size_t tried = 0; tried < state.now.trials().size();) {
    const std::vector<Config> trials = state.now.trials();
    const std::vector<Config> members = members_of(request.file, state.file).trials;
    if (tried == 0) warn_of_outside(request, name, trials, members);
    const ExitCode code = run_round(request, name, trials, members, stop_after_steps);
    if (code != kExitDone) return code;
    tried = trials.size();
    state = state_of(request);
  }
  if (!state.now.complete()) {
    throw StoreError("tuning trials of " + request.now.name + " have not ended");
  }
  return kExitDone;
}

std::set<std::string> tuned_options(const Grid& grid) {
  std::set<std::string> names;
  for (const TuneSection& section : grid.tune.sections) {
    for (const TuneAxis& axis : section.axes) names.insert(axis.name);
  }
  if (!names.empty()) names.insert("final");
  return names;
}

void check_validation(const Grid& grid) {
  if (grid.tune.empty()) return;
  for (const Config& run : grid.runs) {
    if (!reads(run, "validation", program_tables()) || run.real("validation") > 0) continue;
    throw ConfigError(fmt::format(
        "{}: [tune] chooses by the validation split, and validation = {} leaves none; give "
        "validation a share above 0, such as 0.1, or drop the [tune] sections",
        grid.file, run.text("validation")));
  }
}

// It tells final runs of a tuned grid apart, and nothing else.
void warn_of_tuned_for(const Grid& grid) {
  if (!grid.tune.empty()) return;
  const auto said = std::count_if(grid.runs.begin(), grid.runs.end(), [](const Config& run) {
    return run.text("tuned_for") != option("tuned_for").default_value;
  });
  if (said == 0) return;
  log_warn(fmt::format(
      "{} of {} runs: tuned_for is read by [tune] sections alone, and {} has none: it changes "
      "nothing but the runs' ids",
      said, grid.runs.size(), grid.file));
}

// Probes change nothing of a run but what is logged, so that an axis of them is hardly meant.
void warn_of_probes_axis(const Grid& grid) {
  std::map<std::string, std::set<std::string>> probes_of;
  for (const Config& run : grid.runs) {
    std::string others;
    for (const auto& [name, value] : run.values()) {
      if (name != "probes") others += name + "=" + value + "\n";
    }
    probes_of[others].insert(run.text("probes"));
  }
  for (const auto& [others, probes] : probes_of) {
    if (probes.size() < 2) continue;
    const std::string list = join({probes.begin(), probes.end()}, ",");
    log_warn(
        fmt::format("{}: runs differ in their probes alone ({}), so that each is trained {} times; "
                    "one run with all of them is probes = {{{}}}",
                    grid.file, join({probes.begin(), probes.end()}, " and "), probes.size(), list));
    return;
  }
}

// The runs of a file, at what tuning chose where it has: those, unlike the file's, may be finished.
std::vector<Config> runs_at_choices(const Grid& grid, const TuningState& state) {
  std::vector<Config> runs = grid.runs;
  const GridMembers members = members_of(grid, state);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (members.runs[i]) runs[i] = *members.runs[i];
  }
  return runs;
}

// A grid that was edited or moved keeps its name; another one does not get it.
void check_name(const Grid& file, const TuningState& state, const std::string& database) {
  if (!path_exists(database)) return;
  const StoreReader store(database);
  std::set<std::string> stored;
  std::string other;
  for (const std::string& name : {file.name, file.name + kTuningSuffix}) {
    const auto grid = store.find_grid(name);
    if (!grid || grid->file.empty()) continue;
    if (grid->text == file.text || whole_path(grid->file) == whole_path(file.file)) return;
    other = grid->file;
    stored.insert(grid->runs.begin(), grid->runs.end());
  }
  if (stored.empty()) return;
  const GridMembers members = members_of(file, state);
  for (const auto& runs : {decided(members), members.trials}) {
    for (const Config& run : runs) {
      if (stored.count(run.id())) return;
    }
  }
  throw ConfigError(fmt::format(
      "{}: in {} the grid '{}' is that of {}, which has another text and no run in common with "
      "this file; give this one a line name = ... of its own",
      file.file, database, file.name, other));
}

}  // namespace

std::vector<std::string> grid_files(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".ini") files.push_back(entry.path().string());
  }
  if (files.empty()) throw ConfigError(path + " has no grid file, which end in .ini");
  std::sort(files.begin(), files.end());
  return files;
}

GridRequest read_grid_request(const std::string& path, const Settings& overrides, ContentUse use) {
  GridRequest request;
  Settings of_program;
  for (const auto& [name, value] : overrides) {
    if (is_of_runs(option(name))) {
      request.changes.push_back(name + " = " + value);
    } else {
      of_program[name] = value;
    }
  }
  request.file = read_grid_with_content(path, of_program, use);
  request.now =
      request.changes.empty() ? request.file : read_grid_with_content(path, overrides, use);
  return request;
}

RequestState state_of(const GridRequest& request) {
  const std::string database = database_of(request);
  RequestState state;
  state.file = tuning_state(request.file, database);
  state.now = request.changes.empty() ? state.file : tuning_state(request.now, database);
  return state;
}

void check_grid(const GridRequest& request, const RequestState& state) {
  const Grid& file = request.file;
  for (const TableSpec& table : file.tables) {
    check_table(plan_table(table), file.name, file.runs, tuned_options(file));
  }
  // Without tuning these are the runs that are planned or executed next, which checks them.
  if (!request.now.tune.empty()) check_runs(runs_at_choices(request.now, state.now));
  check_validation(request.now);
  warn_of_tuned_for(request.now);
  warn_of_probes_axis(request.now);
  check_name(file, state.file, database_of(request));
}

std::string outside_note(const GridRequest& request, const RequestState& state,
                         const std::vector<Config>& runs) {
  const GridMembers members = members_of(request.file, state.file);
  std::vector<Config> all = decided(members);
  all.insert(all.end(), members.trials.begin(), members.trials.end());
  return outside_text(request, request.file.name, runs, ids_of(all));
}

// What was published of the grid stands beside its runs.
std::vector<ReferenceRecord> references_beside(const Grid& file) {
  const std::string published = published_beside(file.file);
  return path_exists(published) ? references_of(file.name, read_published(published))
                                : std::vector<ReferenceRecord>();
}

ExitCode run_grid(const GridRequest& request, std::int64_t stop_after_steps) {
  const std::string database = database_of(request);
  const std::vector<ReferenceRecord> references = references_beside(request.file);
  if (path_exists(database)) StoreWriter migrated(database);  // before it is read
  RequestState state = state_of(request);
  check_grid(request, state);
  const Grid& now = request.now;
  std::vector<Config> runs = now.runs;
  if (!now.tune.empty()) {
    const ExitCode code = tune(request, stop_after_steps, state);
    if (code != kExitDone) return code;
    if (!request.file.tune.empty()) {
      StoreWriter writer(database);
      writer.add_tuning(tuning_records(request.file, state.file));
      writer.add_tuning_plan(tuning_plan(request.file, state.file));
    }
    fmt::print("{}", describe_choices(state.now));
    for (const std::string& warning : edge_warnings(state.now)) log_warn(warning);
    runs = final_runs(now, state.now);
  }
  const std::vector<Config> members = decided(members_of(request.file, state.file));
  warn_of_outside(request, now.name, runs, members);
  const ExitCode code = run_round(request, now.name, runs, members, stop_after_steps);
  if (!references.empty() && path_exists(database))
    StoreWriter(database).add_references(references);
  return code;
}

WantedRuns wanted_runs(const Grid& file, const std::string& database) {
  const GridMembers members = members_of(file, tuning_state(file, database));
  WantedRuns wanted{file.file, {}};
  std::vector<Settings> said;
  for (std::size_t i = 0; i < file.runs.size(); ++i) {
    said.push_back(file.runs[i].given());
    const bool known = members.runs[i].has_value();
    wanted.runs.push_back({known ? *members.runs[i] : file.runs[i], known});
  }
  return told_apart(std::move(wanted), said);
}

WantedRuns wanted_trials(const Grid& file, const std::string& database) {
  WantedRuns wanted{file.file, {}};
  std::vector<Settings> said;
  for (const Config& trial : members_of(file, tuning_state(file, database)).trials) {
    said.push_back(trial.given());
    wanted.runs.push_back({trial});
  }
  return told_apart(std::move(wanted), said);
}

}  // namespace tandem
