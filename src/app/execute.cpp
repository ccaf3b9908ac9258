// Opens the store as its one writer, notes the wanted runs, plans, and lets the pool work.
#include "app/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>

#include "config/options.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "jobs/checkpoint.h"
#include "jobs/device.h"
#include "jobs/initial_nets.h"
#include "jobs/progress.h"
#include "jobs/run_check.h"
#include "store/store.h"

namespace tandem {
namespace {

RunRecord record_of(const Config& run) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  for (const auto& option : all_options()) {
    if (option.scope == OptionScope::kRun) {
      record.values.emplace_back(option.name, run.text(option.name));
    }
  }
  return record;
}

int jobs_of(const Config& run, const std::string& device) {
  const auto asked = static_cast<int>(run.integer("jobs"));
  if (asked > 0) return asked;
  if (device != "cpu") return static_cast<int>(devices_of(device).size());
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

PlannerInput planner_input(const std::vector<Config>& runs, std::vector<RunRecord> known,
                           StorageChooser storage) {
  PlannerInput input;
  input.wanted = runs;
  input.known = std::move(known);
  input.database = runs.front().text("db");
  input.device = resolve_device(runs.front().text("device"));
  input.jobs = jobs_of(runs.front(), input.device);
  input.storage = std::move(storage);
  return input;
}

// How layers of a run are stored: as at its first plan, where it had one, else as is chosen now.
StorageChooser kept_storage(const std::vector<RunRecord>& known, StorageChooser chosen) {
  std::map<std::string, std::string> kept;
  for (const RunRecord& run : known) {
    if (run.storage) kept.emplace(run.id, *run.storage);
  }
  return [kept, chosen = std::move(chosen)](const Config& run, const std::string& device) {
    const auto found = kept.find(run.id());
    return found == kept.end() ? chosen(run, device) : storages_of_text(found->second);
  };
}

void note_wanted(StoreWriter& store, const Execution& execution) {
  std::vector<RunRecord> records;
  for (const auto& run : execution.runs) records.push_back(record_of(run));
  store.add_runs(records);
  if (execution.grid) {
    const GridNote& grid = *execution.grid;
    store.add_grid(grid.name, grid.file, grid.text, grid.runs);
  }
}

void keep_storage(StoreWriter& store, const GroupPlan& group) {
  std::vector<std::string> ids;
  for (const auto& run : group.runs) ids.push_back(run.id());
  store.keep_storage(ids, storages_text(group.storage));
}

// Of what is stored as much as a plan of `runs` reads, so that it costs what is planned: these
// runs, those of stopped groups, and the newest that ended, from which times are foretold.
std::vector<RunRecord> known_runs(const std::vector<Config>& runs) {
  const std::string& database = runs.front().text("db");
  if (!path_exists(database)) return {};
  const StoreReader store(database);
  std::vector<std::string> ids = stored_group_runs(database);
  for (const Config& run : runs) ids.push_back(run.id());
  const QueryResult newest = store.query(
      "SELECT id FROM run WHERE state IN ('done', 'diverged') ORDER BY key DESC LIMIT 2000");
  for (const auto& row : newest.rows) ids.push_back(row[0]);
  return store.only(ids).runs();
}

// Checks all but those that the database has finished: they need no data and no memory any more.
std::map<std::string, int> checked(const std::vector<Config>& runs,
                                   const std::vector<RunRecord>& known,
                                   const StorageChooser& storage) {
  std::set<std::string> finished;
  for (const RunRecord& run : known) {
    if (is_finished(run.state)) finished.insert(run.id);
  }
  std::vector<Config> open;
  for (const Config& run : runs) {
    if (finished.count(run.id()) == 0) open.push_back(run);
  }
  return check_all(open, resolve_device(runs.front().text("device")), kept_storage(known, storage));
}

constexpr std::string_view kRevision = "revision.";

struct Revised {
  std::string said;       // a canonical form without the revisions of the parts that it selects
  std::string revisions;  // "weights.ssa=3 ..."; what is of revision 1 isn't named
};

Revised parted(const std::string& canonical) {
  Revised parts;
  for (const auto& line : split(canonical, '\n')) {
    const std::string text(line);
    if (text.rfind(kRevision, 0) == 0) {
      parts.revisions += (parts.revisions.empty() ? "" : " ") + text.substr(kRevision.size());
    } else {
      parts.said += text + "\n";
    }
  }
  return parts;
}

// A run that an earlier revision of its method began is another run, from which none goes on.
void warn_of_revised(const std::vector<Config>& runs, const std::vector<RunRecord>& known) {
  std::set<std::string> ids;
  for (const RunRecord& run : known) ids.insert(run.id);
  std::map<std::string, const Config*> fresh;
  for (const Config& run : runs) {
    if (ids.count(run.id()) == 0) fresh.emplace(parted(run.canonical()).said, &run);
  }
  if (fresh.empty()) return;
  std::size_t count = 0;
  std::string example;
  for (const RunRecord& run : known) {
    if (run.attempt == 0) continue;
    const Revised before = parted(run.canonical);
    const auto found = fresh.find(before.said);
    if (found == fresh.end() || count++ > 0) continue;
    const std::string now = parted(found->second->canonical()).revisions;
    example = fmt::format("run {} with {} is run {} with {} now", short_id(run.id),
                          before.revisions.empty() ? "the first" : before.revisions,
                          short_id(found->second->id()), now.empty() ? "the first" : now);
  }
  if (count == 0) return;
  log_warn_once(std::string(kRevision),
                fmt::format("{} of the runs that are asked for {} stored as an earlier revision of "
                            "the program ran {} ({}): what is stored stays as it is, and {} anew",
                            count, count == 1 ? "is" : "are", count == 1 ? "it" : "them", example,
                            count == 1 ? "it begins" : "they begin"));
}

// The nets that runs begin with, of those that do begin: one that goes on from a checkpoint needs
// its file no more.
void check_beginnings(const GridPlan& plan) {
  std::vector<Config> begin;
  for (const GroupPlan& group : plan.groups) {
    if (!group.resumed) begin.insert(begin.end(), group.runs.begin(), group.runs.end());
  }
  check_initial_nets(begin);
}

// Throws what check_runs() does, and says what there is to be warned of: once, however many rounds
// of runs a command executes.
void check_aloud(const std::vector<Config>& runs, const std::vector<RunRecord>& known,
                 const StorageChooser& storage) {
  for (const auto& [text, count] : checked(runs, known, storage)) {
    log_warn_once(text, fmt::format("{} run{}: {}", count, count == 1 ? "" : "s", text));
  }
  warn_of_revised(runs, known);
}

// The progress line goes away before anything else is printed.
PoolResult run_plan(StoreWriter& store, const GridPlan& plan, const PlannerInput& input,
                    const Execution& execution) {
  PoolOptions options;
  options.database = input.database;
  options.jobs = input.jobs;
  options.device = input.device;
  options.checkpoint_every_s = execution.runs.front().real("checkpoint_every_s");
  options.stop_after_steps = execution.stop_after_steps;
  Progress progress(plan, input.jobs, stderr);
  return run_groups(store, plan.groups, options, progress);
}

constexpr const char* kBeforeTraining =
    "\ntandem: stopped before anything was trained; the same command begins anew\n";
constexpr const char* kAfterTraining =
    "\ntandem: stopped; what was trained is kept, and the same command goes on from there\n";

// The database of an execution. One that isn't there yet is made only when the plan stands, and
// goes away again where no run came to anything.
class Results {
 public:
  explicit Results(const std::string& database) : path_(database), made_(!path_exists(database)) {
    const auto folder = std::filesystem::path(database).parent_path();
    if (!folder.empty() && !path_exists(folder.string())) made_folder_ = folder.string();
    if (!made_) store_.emplace(database);
  }

  StoreWriter& store() {
    if (store_) return *store_;
    ensure_folder(std::filesystem::path(path_).parent_path().string());
    return store_.emplace(path_);
  }

  // Failed runs that have no results and that no grid asks for leave no row: who asked was told
  // why.
  void forget_failed() {
    std::vector<std::string> ids;
    const QueryResult found = StoreReader(path_).query(
        "SELECT id FROM run r WHERE state = 'failed' AND NOT EXISTS (SELECT 1 FROM grid_run g "
        "WHERE "
        "g.run_id = r.id) AND NOT EXISTS (SELECT 1 FROM eval e WHERE e.run = r.key) AND NOT EXISTS "
        "(SELECT 1 FROM metric m WHERE m.run = r.key)");
    for (const auto& row : found.rows) ids.push_back(row[0]);
    store().remove_runs(ids);
  }

  void close() {
    const bool empty = made_ && StoreReader(path_).query("SELECT 1 FROM run LIMIT 1").rows.empty();
    store_.reset();
    std::error_code ignored;
    if (!empty) return;
    for (const char* ending : {"", "-wal", "-shm", "-journal", ".lock"}) {
      std::filesystem::remove(path_ + ending, ignored);
    }
    std::filesystem::remove(checkpoint_root(path_), ignored);  // where nothing is in it
    if (!made_folder_.empty()) std::filesystem::remove(made_folder_, ignored);
  }

 private:
  std::string path_, made_folder_;
  bool made_;
  std::optional<StoreWriter> store_;
};

// A failed run that begins anew begins without the rows of its failure.
void replace_failed(StoreWriter& store, const GridPlan& plan, const std::vector<RunRecord>& known) {
  std::set<std::string> failed;
  for (const RunRecord& run : known) {
    if (run.state == "failed") failed.insert(run.id);
  }
  std::vector<std::string> replaced;
  for (const GroupPlan& group : plan.groups) {
    for (const Config& run : group.runs) {
      if (!group.resumed && failed.count(run.id()) != 0) replaced.push_back(run.id());
    }
  }
  store.remove_runs(replaced);
}

// Runs of no stored group begin anew, and without the rows of an earlier attempt: another version
// may have counted them otherwise.
void forget_earlier_rows(StoreWriter& store, const GridPlan& plan,
                         const std::vector<RunRecord>& known) {
  std::set<std::string> begun;
  for (const RunRecord& run : known) {
    if (run.attempt > 0 && run.state != "failed") begun.insert(run.id);
  }
  std::vector<std::string> anew;
  for (const GroupPlan& group : plan.groups) {
    for (const Config& run : group.runs) {
      if (!group.resumed && begun.count(run.id()) != 0) anew.push_back(run.id());
    }
  }
  store.forget_rows(anew);
}

void warn_of_outdated(const GridPlan& plan) {
  for (const std::string& folder : plan.outdated_folders) {
    log_warn(fmt::format(
        "the checkpoint in {} is another version's, which this program can't go on from: its runs "
        "begin anew, and their rows with them; the folder goes once they have ended",
        folder));
  }
}

// Removes what groups leave that failed before their first checkpoint.
void remove_empty_folders(const GridPlan& plan) {
  for (const GroupPlan& group : plan.groups) {
    if (!has_checkpoint(group.folder)) remove_group_folder(group.folder);
  }
}

}  // namespace

Option stop_after_steps_option() {
  return {.name = "stop_after_steps",
          .type = OptionType::kInt,
          .default_value = "0",
          .neutral = "0",
          .help = "stop each group with a checkpoint after so many steps; 0: never",
          .unit = "steps",
          .minimum = 0,
          .maximum = kMostSteps};
}

std::string database_of(const Settings& settings) {
  for (const auto& [name, value] : settings) {
    if (!is_of_runs(option(name))) continue;
    throw ConfigError(fmt::format(
        "--{} {} is an option of a run and selects nothing here; leave it out, or say --where "
        "{}={} where the command takes it",
        name, value, name, value));
  }
  const auto found = settings.find("db");
  return found == settings.end() ? option("db").default_value : found->second;
}

GridPlan plan_execution(const std::vector<Config>& runs) {
  std::vector<RunRecord> known = known_runs(runs);
  const StorageChooser storage = storage_chooser();
  check_aloud(runs, known, storage);
  GridPlan plan = plan_groups(planner_input(runs, std::move(known), storage));
  check_beginnings(plan);
  warn_of_outdated(plan);
  return plan;
}

void check_runs(const std::vector<Config>& runs) {
  const std::vector<RunRecord> known = known_runs(runs);
  checked(runs, known, storage_chooser());
  std::set<std::string> begun;
  for (const RunRecord& run : known) {
    if (run.attempt > 0) begun.insert(run.id);
  }
  std::vector<Config> begin;
  for (const Config& run : runs) {
    if (begun.count(run.id()) == 0) begin.push_back(run);
  }
  check_initial_nets(begin);
}

ExecutionReport execute(const Execution& execution) {
  if (!stop_requested()) end_at_interrupt(kBeforeTraining);
  const std::string database = execution.runs.front().text("db");
  Results results(database);  // brings a database of an earlier version forward, so that it is read
  std::vector<RunRecord> known = known_runs(execution.runs);
  const StorageChooser storage = storage_chooser();
  check_aloud(execution.runs, known, storage);
  const PlannerInput input = planner_input(execution.runs, std::move(known), storage);
  GridPlan plan = plan_groups(input);
  check_beginnings(plan);
  install_interrupt_handlers();
  warn_of_outdated(plan);
  replace_failed(results.store(), plan, input.known);
  forget_earlier_rows(results.store(), plan, input.known);
  note_wanted(results.store(), execution);
  results.forget_failed();
  for (auto& group : plan.groups) {
    if (group.resumed) adopt_group(database, group);
    keep_storage(results.store(), group);
  }
  for (const auto& useless : plan.useless_folders) remove_group_folder(useless);
  ExecutionReport report;
  report.asked = execution.runs.size();
  report.finished_before = plan.finished.size();
  if (plan.groups.empty()) return report;
  log_info(fmt::format("{} of {} runs to do, in {} groups, {} worker{} on {}, results in {}",
                       report.asked - report.finished_before, report.asked, plan.groups.size(),
                       input.jobs, input.jobs == 1 ? "" : "s", input.device, database));
  report.pool = run_plan(results.store(), plan, input, execution);
  results.forget_failed();
  remove_empty_folders(plan);
  results.close();
  if (!report.pool.stopped) end_at_interrupt(kAfterTraining);
  return report;
}

std::string describe(const ExecutionReport& report) {
  const PoolResult& pool = report.pool;
  std::string text = fmt::format("{} runs: {} were finished before, {} done now", report.asked,
                                 report.finished_before, pool.done);
  if (pool.diverged > 0) text += fmt::format(", {} diverged", pool.diverged);
  if (!pool.failures.empty()) text += fmt::format(", {} failed", pool.failures.size());
  if (pool.stopped) text += "; stopped, the same command resumes";
  return text;
}

ExitCode exit_code(const ExecutionReport& report) {
  if (report.pool.stopped) return kExitStopped;
  return report.pool.failures.empty() ? kExitDone : report.pool.failures.front().code;
}

}  // namespace tandem
