// `tandem demo`: a small version of the main job. Both levels side by side on a byte-level language
// model, and a sequence of tasks, from data to tables; again, it prints them at once.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "app/command.h"
#include "app/execute.h"
#include "app/run_grid.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/log.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr const char* kGrids[] = {"levels.ini", "continual.ini"};

// Beside the current folder, else beside the build folder that the program lies in.
std::string grid_file(const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& root : {fs::path("."), program.parent_path().parent_path()}) {
    const fs::path file = root / "experiments" / "smoke" / name;
    if (fs::exists(file, error)) return file.lexically_normal().string();
  }
  throw DataError("experiments/smoke/" + name +
                  " was not found here or beside the program's build folder; run the demo from the "
                  "project's root");
}

ExitCode demo(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  if (!parsed.positionals.empty()) {
    throw ConfigError("tandem demo takes options only, not '" + parsed.positionals.front() + "'");
  }
  Settings overrides = parsed.settings;
  overrides.emplace("db", "results/demo.sqlite");
  const std::string database = overrides.at("db");
  fmt::print(
      "Tandem's demo: two small grids on this machine's cores, a few minutes the first time.\n"
      "  1. {}: attention and weight sparsity in one byte-level language model\n"
      "  2. {}: five tasks in sequence, with and without replay\n\n",
      kGrids[0], kGrids[1]);
  for (const char* name : kGrids) {
    std::fflush(stdout);
    const ExitCode code =
        run_grid(read_grid_request(grid_file(name), overrides, ContentUse::kTrain));
    if (code != kExitDone) return code;
  }
  for (const char* name : kGrids) {
    const Grid grid = read_grid_request(grid_file(name), overrides, ContentUse::kRead).file;
    for (const TableSpec& spec : grid.tables) {
      TablePlan plan = plan_table(spec);
      plan.wanted = wanted_runs(grid, database);
      const StoreReader store(database);
      fmt::print("\n{}", to_markdown(build_table(store, plan)));
    }
  }
  const std::string some_run = StoreReader(database).runs().front().id;
  fmt::print(
      "\nThe results are in {}. What to try next:\n"
      "  ./tandem query runs --db {}\n"
      "  ./tandem query \"SELECT weights, accuracy FROM v_eval WHERE split = 'test'\" --db {}\n"
      "  ./tandem why {} --db {}\n"
      "  ./tandem list methods\n"
      "  ./tandem run --weights ssa --density 0.05 --seed 7\n"
      "  ./tandem grid plan experiments/tandem.ini\n",
      database, database, database, short_id(some_run), database);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "demo",
     .summary = "a small version of everything, from data to tables",
     .usage = "demo [--db PATH] [--jobs N]",
     .text = "Runs experiments/smoke/levels.ini and experiments/smoke/continual.ini into "
             "results/demo.sqlite and prints their tables.\nRun again, it prints them at once.",
     .options = {},
     .takes_config = false,
     .run = demo});

}  // namespace
}  // namespace tandem
