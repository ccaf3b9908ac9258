// Opens the store as its one writer, notes the wanted runs, plans, and lets the pool work.
#include "app/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <thread>

#include "config/options.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "jobs/device.h"
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
  std::vector<std::string> ids;
  for (const auto& run : execution.runs) {
    records.push_back(record_of(run));
    ids.push_back(records.back().id);
    if (execution.grid) records.back().grid = execution.grid->name;
  }
  store.add_runs(records);
  if (execution.grid) {
    store.add_grid(execution.grid->name, execution.grid->file, execution.grid->text, ids);
  }
}

// Throws what check_runs() does, and says what there is to be warned of.
void check_aloud(const std::vector<Config>& runs) {
  const auto warnings = check_all(runs, resolve_device(runs.front().text("device")));
  for (const auto& [text, count] : warnings) {
    log_warn(fmt::format("{} run{}: {}", count, count == 1 ? "" : "s", text));
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
          .minimum = 0,
          .maximum = kMostSteps};
}

std::string database_of(const Settings& settings) {
  const auto found = settings.find("db");
  return found == settings.end() ? option("db").default_value : found->second;
}

GridPlan plan_execution(const std::vector<Config>& runs) {
  check_aloud(runs);
  const std::string database = runs.front().text("db");
  std::error_code error;
  std::vector<RunRecord> known;
  if (std::filesystem::exists(database, error)) known = StoreReader(database).runs();
  return plan_groups(planner_input(runs, std::move(known)));
}

void check_runs(const std::vector<Config>& runs) {
  check_all(runs, resolve_device(runs.front().text("device")));
}

ExecutionReport execute(const Execution& execution) {
  install_interrupt_handlers();
  check_aloud(execution.runs);
  const std::string database = execution.runs.front().text("db");
  const std::string device = resolve_device(execution.runs.front().text("device"));
  const auto folder = std::filesystem::path(database).parent_path();
  if (!folder.empty()) ensure_folder(folder.string());
  StoreWriter store(database);
  note_wanted(store, execution);
  const PlannerInput input = planner_input(execution.runs, StoreReader(database).runs());
  const GridPlan plan = plan_groups(input);
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
