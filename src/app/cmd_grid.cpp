// `tandem grid plan|run|status FILE`: a grid is a wish; plan says what is missing, run makes it so.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "analysis/query.h"
#include "app/command.h"
#include "app/execute.h"
#include "app/run_grid.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/log.h"
#include "core/text.h"
#include "jobs/progress.h"
#include "store/store.h"

namespace tandem {
namespace {

struct Request {
  std::string action;
  std::vector<GridRequest> grids;  // one, or those of a folder
  std::int64_t stop_after_steps = 0;
};

Request read_request(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {stop_after_steps_option()});
  const auto& words = parsed.positionals;
  const std::vector<std::string> actions = {"plan", "run", "status"};
  if (words.empty()) throw ConfigError("tandem grid needs an action: plan, run or status");
  if (std::find(actions.begin(), actions.end(), words[0]) == actions.end()) {
    throw ConfigError(did_you_mean("grid action", words[0], actions));
  }
  if (words.size() != 2) {
    throw ConfigError(fmt::format(
        "tandem grid {} needs one grid file, or a folder of them, {} given: tandem grid "
        "{} FILE",
        words[0], words.size() - 1, words[0]));
  }
  Request request;
  request.action = words[0];
  const std::map<std::string, ContentUse> uses = {
      {"run", ContentUse::kTrain}, {"plan", ContentUse::kPlan}, {"status", ContentUse::kRead}};
  for (const std::string& file : grid_files(words[1])) {
    request.grids.push_back(read_grid_request(file, parsed.settings, uses.at(request.action)));
  }
  request.stop_after_steps = *parse_integer(extra_value(parsed, stop_after_steps_option()));
  set_log_level(request.grids.front().now.runs.front().text("log_level"));
  return request;
}

std::string time_text(const std::optional<double>& seconds) {
  return seconds ? "about " + duration_text(*seconds) : "not known yet";
}

// Where any layer is sparse: one line per method and density, layers in the order of the network.
void print_storages(const GridPlan& plan) {
  std::set<std::string> lines;
  for (const GroupPlan& group : plan.groups) {
    if (!any_sparse(group.storage)) continue;
    for (const Config& run : group.runs) {
      lines.insert(fmt::format("  storage of {} at density {}: {}\n", run.text("weights"),
                               run.text("density"), storages_text(group.storage)));
    }
  }
  for (const std::string& line : lines) fmt::print("{}", line);
}

// Groups in the order of the plan; neighbours that read the same are one line.
void print_groups(const GridPlan& plan) {
  std::vector<std::pair<std::string, std::int64_t>> lines;
  for (const GroupPlan& group : plan.groups) {
    const Config& first = group.runs.front();
    std::string line = fmt::format(
        "{:>3} runs  {:<14} {:<10} {:<14} {:<12} {}{}", group.runs.size(), first.text("weights"),
        first.text("attention"), first.text("data"), first.text("strategy"),
        time_text(group.predicted_seconds), group.resumed ? ", resumed" : "");
    if (lines.empty() || lines.back().first != line) lines.emplace_back(std::move(line), 0);
    ++lines.back().second;
  }
  for (const auto& [line, count] : lines) fmt::print("  {:>4} x {}\n", count, line);
}

ExitCode plan(const GridRequest& request) {
  const RequestState state = state_of(request);
  check_grid(request, state);
  const Grid& grid = request.now;
  const std::vector<Config> runs = wanted_now(grid, state.now);
  if (!grid.tune.empty()) {
    fmt::print("tuning trials come first; {} final runs follow at what they choose\n",
               grid.runs.size());
  }
  const std::string outside = outside_note(request, state, runs);
  if (!outside.empty()) log_warn(outside);
  const GridPlan plan = plan_execution(runs);
  const auto resumed = std::count_if(plan.groups.begin(), plan.groups.end(),
                                     [](const GroupPlan& group) { return group.resumed; });
  fmt::print("grid {}: {} runs, {} finished, {} to do in {} groups ({} resumed); time: {}\n",
             grid.name, runs.size(), plan.finished.size(), runs.size() - plan.finished.size(),
             plan.groups.size(), resumed, time_text(plan.predicted_seconds));
  print_groups(plan);
  print_storages(plan);
  if (!plan.groups.empty() && !plan.predicted_seconds) {
    fmt::print(
        "no runs of the kind are in the database yet: `tandem grid run` says after some "
        "seconds how long it takes\n");
  }
  return kExitDone;
}

// Runs of the file by method and state; a run that the database doesn't have is missing.
ExitCode status(const GridRequest& request) {
  const Grid& grid = request.now;
  const TuningState state = tuning_state(grid, grid.runs.front().text("db"));
  const std::vector<Config> wanted = wanted_now(grid, state);
  std::vector<std::string> ids;
  for (const Config& run : wanted) ids.push_back(run.id());
  const StoreReader store = StoreReader(grid.runs.front().text("db")).only(ids);
  std::map<std::string, RunRecord> known;
  for (auto& record : store.runs()) known.emplace(record.id, record);
  const std::vector<std::string> states = {"done",        "diverged", "running", "stopped",
                                           "interrupted", "failed",   "queued",  "missing"};
  QueryResult table;
  table.columns = {"weights", "attention", "strategy", "runs"};
  table.columns.insert(table.columns.end(), states.begin(), states.end());
  std::map<std::vector<std::string>, std::map<std::string, int>> counts;
  for (const Config& config : wanted) {
    const auto found = known.find(config.id());
    auto& of_method =
        counts[{config.text("weights"), config.text("attention"), config.text("strategy")}];
    ++of_method[found == known.end() ? "missing" : found->second.state];
    ++of_method["runs"];
  }
  for (auto& [method, of_method] : counts) {
    std::vector<std::string> row = method;
    for (std::size_t i = 3; i < table.columns.size(); ++i) {
      row.push_back(std::to_string(of_method[table.columns[i]]));
    }
    table.rows.push_back(std::move(row));
    table.null.emplace_back(table.columns.size(), false);
  }
  fmt::print("{}", render(table, QueryFormat::kAligned));
  return kExitDone;
}

// The grids of a folder one after another, none before all of them are checked. One that fails is
// no reason to leave the others out; one that is stopped is.
ExitCode run_all(const Request& request) {
  if (request.grids.size() > 1) {
    for (const GridRequest& grid : request.grids) check_grid(grid, state_of(grid));
  }
  ExitCode code = kExitDone;
  for (const GridRequest& grid : request.grids) {
    if (request.grids.size() > 1) log_info("grid " + grid.now.name);
    ExitCode own = kExitDone;
    try {
      own = run_grid(grid, request.stop_after_steps);
    } catch (const Error& error) {
      if (request.grids.size() == 1) throw;
      log_warn(fmt::format("grid {}: {}", grid.now.name, error.what()));
      own = error.exit_code();
    }
    if (own == kExitStopped) return own;
    if (code == kExitDone) code = own;
  }
  return code;
}

ExitCode grid(const Arguments& args) {
  const Request request = read_request(args);
  if (request.action == "run") return run_all(request);
  for (const GridRequest& grid : request.grids) {
    if (request.action == "plan") {
      plan(grid);
      continue;
    }
    if (request.grids.size() > 1) fmt::print("grid {}\n", grid.now.name);
    status(grid);
  }
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "grid",
     .summary = "plan, run or look at the runs of a grid file",
     .usage = "grid plan FILE [--OPTION VALUE ...]\ngrid run FILE [--jobs N] [--db PATH] [--OPTION "
              "VALUE ...]\ngrid status FILE [--db PATH]",
     .text = "FILE may be a folder: its grid files (*.ini) are taken one after another. An option "
             "on the command line replaces the file's, an axis too: it selects what is run "
             "now. The file alone says which\nruns the grid has, so that others that the command "
             "line makes are stored, but not of the grid. Runs that are in the\ndatabase are not "
             "trained again; stopped ones resume. A run that fails is marked and "
             "the others go on; the next `grid run` tries it again.",
     .options = {stop_after_steps_option()},
     .takes_config = true,
     .run = grid});

}  // namespace
}  // namespace tandem
