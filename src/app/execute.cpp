// Opens the store as its one writer, notes the wanted runs, plans, and lets the pool work.
#include "app/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <thread>

#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "jobs/device.h"
#include "jobs/progress.h"
#include "methods/method.h"
#include "probes/probe_names.h"
#include "store/store.h"
#include "topology/rule_reads.h"

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

PlannerInput planner_input(const std::vector<Config>& runs, std::vector<RunRecord> known) {
  PlannerInput input;
  input.wanted = runs;
  input.known = std::move(known);
  input.database = runs.front().text("db");
  input.device = resolve_device(runs.front().text("device"));
  input.jobs = jobs_of(runs.front(), input.device);
  input.storage = storage_chooser();
  return input;
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

void warn_of_divergence(const std::vector<Config>& runs) {
  std::map<std::string, int> warnings;
  for (const Config& run : runs) ++warnings[divergence_warning(run)];
  for (const auto& [text, count] : warnings) {
    if (!text.empty()) log_warn(fmt::format("{} run{}: {}", count, count == 1 ? "" : "s", text));
  }
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

}  // namespace

Option stop_after_steps_option() {
  return {.name = "stop_after_steps",
          .type = OptionType::kInt,
          .default_value = "0",
          .neutral = "0",
          .help = "stop each group with a checkpoint after so many steps; 0: never",
          .unit = "steps",
          .minimum = 0};
}

std::string database_of(const Settings& settings) {
  for (const auto& [name, value] : settings) {
    if (option(name).scope == OptionScope::kProgram) continue;
    throw ConfigError(fmt::format(
        "--{} {} is an option of a run and selects nothing here; leave it out, or say --where "
        "{}={} where the command takes it",
        name, value, name, value));
  }
  const auto found = settings.find("db");
  return found == settings.end() ? option("db").default_value : found->second;
}

GridPlan plan_execution(const std::vector<Config>& runs) {
  const std::string database = runs.front().text("db");
  std::error_code error;
  std::vector<RunRecord> known;
  if (std::filesystem::exists(database, error)) known = StoreReader(database).runs();
  return plan_groups(planner_input(runs, std::move(known)));
}

void check_runs(const std::vector<Config>& runs) {
  for (const Config& run : runs) {
    said_probes(run);
    check_fresh_batches(policies_of(run, Level::kWeights).topology);
  }
}

ExecutionReport execute(const Execution& execution) {
  install_interrupt_handlers();
  warn_of_divergence(execution.runs);
  check_runs(execution.runs);
  const std::string database = execution.runs.front().text("db");
  const std::string device = resolve_device(execution.runs.front().text("device"));
  const auto folder = std::filesystem::path(database).parent_path();
  if (!folder.empty()) ensure_folder(folder.string());
  StoreWriter store(database);
  note_wanted(store, execution);
  const PlannerInput input = planner_input(execution.runs, StoreReader(database).runs());
  GridPlan plan = plan_groups(input);
  for (auto& group : plan.groups) {
    if (group.resumed) adopt_group(database, group);
    keep_storage(store, group);
  }
  for (const auto& useless : plan.useless_folders) remove_group_folder(useless);
  ExecutionReport report;
  report.asked = execution.runs.size();
  report.finished_before = plan.finished.size();
  if (plan.groups.empty()) return report;
  log_info(fmt::format("{} of {} runs to do, in {} groups, {} worker{} on {}, results in {}",
                       report.asked - report.finished_before, report.asked, plan.groups.size(),
                       input.jobs, input.jobs == 1 ? "" : "s", device, database));
  report.pool = run_plan(store, plan, input, execution);
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
