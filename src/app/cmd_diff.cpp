// `tandem diff`: which settings of two grids, or of two databases, have other results.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "analysis/table_diff.h"
#include "analysis/table_writers.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "config/data_score.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

const Option kColumns = text_option(
    "columns",
    "measures, as a table's: \"acc@own, f_chaudhry@own\"; without it what the data have");
const Option kWhere =
    text_option("where", "only runs that meet these conditions: \"weights=rigl|ssa density=0.1\"");

Option test_option() {
  return {.name = "test",
          .type = OptionType::kChoice,
          .default_value = "paired_t",
          .neutral = "paired_t",
          .help = "of the differences over common seeds",
          .choices = hypothesis_test_names()};
}

// A file and a grid of it, where the side says both: FILE:GRID.
std::pair<std::string, std::string> parts_of_side(const std::string& side) {
  std::error_code error;
  if (fs::is_regular_file(side, error)) return {side, ""};
  const std::size_t colon = side.rfind(':');
  if (colon != std::string::npos && fs::is_regular_file(side.substr(0, colon), error))
    return {side.substr(0, colon), side.substr(colon + 1)};
  return {"", side};
}

// A side's database: a dump is unpacked into `folder`.
std::string database_file(const std::string& file, const std::string& folder) {
  if (!file.ends_with(".sql") && !file.ends_with(".sql.xz")) return file;
  const std::string path =
      folder + "/" + std::to_string(std::hash<std::string>()(file)) + ".sqlite";
  StoreWriter(path).merge({.file = file});
  return path;
}

// What the side's runs have, where nobody says what to compare.
std::vector<Measure> own_measures(const RunSet& set) {
  const bool bits = std::all_of(set.runs.begin(), set.runs.end(), [](const RunData& run) {
    return told_in_bits(run.column("data"));
  });
  return parse_measures(bits ? "bits_per_byte@own" : "accuracy@own, loss@own");
}

ExitCode diff(const Arguments& args) {
  const ParsedArguments parsed =
      parse_arguments(args, {kColumns, kWhere, test_option(), table_format_option()});
  const auto& words = parsed.positionals;
  if (words.size() != 2)
    throw ConfigError(
        "tandem diff needs two sides, each a grid of the database, a file, or FILE:GRID: tandem "
        "diff "
        "A B");
  const TemporaryFolder folder;
  std::vector<DiffSide> sides;
  std::vector<Measure> measures = parse_measures(extra_value(parsed, kColumns));
  for (const std::string& word : words) {
    const auto [file, grid] = parts_of_side(word);
    const StoreReader store(file.empty() ? database_of(parsed.settings)
                                         : database_file(file, folder.path()));
    TablePlan plan;
    plan.name = "diff";
    plan.grid = grid;
    plan.where = parse_conditions(extra_value(parsed, kWhere));
    plan.measures = measures.empty() ? parse_measures("accuracy@own") : measures;
    DiffSide side{word, select_runs(store, plan), ""};
    side.split = split_shown(side.set, plan);
    if (side.set.runs.empty())
      throw ConfigError(word + ": no run that is done or diverged meets the conditions");
    if (measures.empty()) measures = own_measures(side.set);
    sides.push_back(std::move(side));
  }
  const Table table =
      diff_table(sides[0], sides[1], measures, hypothesis_test(extra_value(parsed, test_option())));
  fmt::print("{}", table_writer(extra_value(parsed, table_format_option())).write(table, {}));
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "diff",
     .summary = "say which settings of two grids or databases have other results",
     .usage = "diff A B [--columns MEASURES] [--where CONDITIONS] [--test NAME] [--db PATH]",
     .text =
         "A and B are grids of the database, files (databases, or dumps .sql, .sql.xz), or "
         "FILE:GRID. Settings are alike where\nall options but seeds are; options that have one "
         "value on each side, such as the device of two machines' runs, are left\nout and named.",
     .options = {kColumns, kWhere, test_option(), table_format_option()},
     .run = diff});

}  // namespace
}  // namespace tandem
