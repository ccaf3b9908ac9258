// `tandem check SUITE`: what was published of a suite's runs, beside what the database has of them.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "analysis/published.h"
#include "analysis/query.h"
#include "app/command.h"
#include "app/execute.h"
#include "app/run_content.h"
#include "app/run_grid.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/log.h"
#include "core/text.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

std::string reference_beside(const std::string& suite) {
  const std::string file = published_beside(suite);
  if (fs::exists(file)) return file;
  throw ConfigError(
      fmt::format("{} has no {} beside it, which holds the published figures (docs/grids.md)",
                  suite, fs::path(file).filename().string()));
}

// A row of another grid is no mistake where only one file of the folder is checked.
void expect_grids(const std::vector<Published>& published, const std::set<std::string>& names,
                  const std::string& suite, const std::string& file) {
  const bool whole = fs::is_directory(suite);
  bool any = false;
  for (const Published& row : published) {
    const bool known = names.count(row.grid) != 0;
    any = any || known;
    if (known || !whole) continue;
    throw ConfigError(fmt::format(
        "{}: {}", file, did_you_mean("grid of " + suite, row.grid, {names.begin(), names.end()})));
  }
  if (!any) {
    throw ConfigError(
        fmt::format("{} has no row of grid {}", file, join({names.begin(), names.end()}, ", ")));
  }
}

std::string summary_of(const std::vector<Checked>& checked, const std::string& suite) {
  std::size_t gates = 0, met = 0, outside = 0, missing = 0, partial = 0;
  for (const Checked& row : checked) {
    gates += row.published.gate.has_value();
    met += row.met.value_or(false);
    outside += !row.met.value_or(true);
    missing += row.ours.n + row.diverged == 0;
    partial += row.ours.n + row.diverged > 0 && !row.complete();
  }
  std::string text = fmt::format("{} of {} gates met, {} outside; {} figures in all.", met, gates,
                                 outside, checked.size());
  if (missing + partial > 0) {
    text += fmt::format(
        " {} figures have no finished run yet and {} not all of theirs; tandem grid run "
        "{} trains them",
        missing, partial, suite);
  }
  return text;
}

void print_sources(const std::vector<Checked>& checked) {
  std::set<std::string> said;
  for (const Checked& row : checked) {
    const Published& theirs = row.published;
    if (!said.insert(theirs.cite).second) continue;
    fmt::print("published: {}{}\n", theirs.cite,
               theirs.protocol.empty() ? "" : " (" + theirs.protocol + ")");
  }
}

ExitCode check_suite(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {format_option()});
  if (parsed.positionals.size() != 1) {
    throw ConfigError(
        "tandem check needs a suite, a grid file or a folder of them: tandem check "
        "experiments/continual");
  }
  const std::string suite = parsed.positionals.front();
  const QueryFormat format = parse_query_format(extra_value(parsed, format_option()));
  const std::string database = database_of(parsed.settings);
  const std::vector<std::string> files = grid_files(suite);
  const std::string reference = reference_beside(suite);
  const std::vector<Published> published = read_published(reference);
  std::vector<Grid> grids;
  std::set<std::string> names;
  for (const std::string& file : files) {
    grids.push_back(read_grid_with_content(file, {{"db", database}}, ContentUse::kRead));
    names.insert(grids.back().name);
  }
  expect_grids(published, names, suite, reference);
  const StoreReader store(database);
  std::vector<Checked> checked;
  for (const Grid& grid : grids) {
    const auto rows = check_published(store, grid.name, wanted_runs(grid, database), published);
    checked.insert(checked.end(), rows.begin(), rows.end());
  }
  fmt::print("{}", render(checked_rows(checked), format));
  if (format == QueryFormat::kAligned) {
    fmt::print(
        "ours and published: percent where the measure is a share; sd: of ours over seeds; "
        "z: difference in standard errors of both\n");
    print_sources(checked);
  }
  const bool untested = std::any_of(checked.begin(), checked.end(), [](const Checked& row) {
    return row.ours.n > 0 && row.split != "test";
  });
  if (untested)
    log_warn(
        "some of ours are of the validation split, since not all runs of their grid are final "
        "(final = true); published figures are of the test split as a rule");
  log_info(summary_of(checked, suite));
  const bool outside = std::any_of(checked.begin(), checked.end(),
                                   [](const Checked& row) { return !row.met.value_or(true); });
  return outside ? kExitDiffers : kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "check",
     .summary = "compare a suite's runs with the figures that were published",
     .usage = "check SUITE [--db PATH] [--format table|csv|json|jsonl|markdown]",
     .text = "SUITE is a grid file, or a folder of them, with a reference.json beside it. It reads "
             "only: what has no\nrun yet is said, and `tandem grid run SUITE` trains it. Where a "
             "gate of the suite is not met it ends with 4.",
     .options = {format_option()},
     .run = check_suite});

}  // namespace
}  // namespace tandem
