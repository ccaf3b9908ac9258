// `tandem table`: means over seeds, as a [table] section of a grid file or the command line says,
// with the lineage of every number beside the file that it is written to.
#include <fmt/format.h>

#include <filesystem>

#include "analysis/lineage.h"
#include "analysis/table.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

Option text_option(const char* name, const char* help) {
  return {
      .name = name, .type = OptionType::kText, .default_value = "", .neutral = "", .help = help};
}

const Option kTable = text_option("table", "the [table NAME] sections of the grid file to print");
const Option kTableOut = text_option("out",
                                     "file to write, its lineage goes to FILE.lineage.json; a name "
                                     "without ending writes .md, .csv and "
                                     "the lineage");
const Option kTableFormat = {.name = "format",
                             .type = OptionType::kChoice,
                             .default_value = "markdown",
                             .neutral = "markdown",
                             .help = "how the table is written",
                             .choices = {"markdown", "csv"}};
const std::vector<Option> kPlan = {
    text_option("rows", "columns of v_run whose values make the rows"),
    text_option("columns",
                "measures: accuracy@sparse, metric:gap (last), average:churn (over steps), ..."),
    text_option("across", "repeat the columns for each value of this"),
    text_option("where", "conditions: weights=rigl|set density=0.1"),
    text_option("grid", "only the runs of this grid"),
    text_option("split", "auto, test, validation or train"),
    text_option("digits", "decimals of all columns"),
    text_option("title", "title of the table")};

std::vector<Option> all_options_of_table() {
  std::vector<Option> options = {kTable, kTableOut, kTableFormat};
  options.insert(options.end(), kPlan.begin(), kPlan.end());
  return options;
}

std::vector<TableSpec> specs_of_file(const Grid& grid, const std::string& wanted) {
  std::vector<TableSpec> specs;
  std::vector<std::string> names;
  for (TableSpec spec : grid.tables) {
    names.push_back(spec.name);
    if (!wanted.empty() && spec.name != wanted) continue;
    spec.settings.emplace("grid", grid.name);
    specs.push_back(std::move(spec));
  }
  if (names.empty()) {
    throw ConfigError(grid.file +
                      " has no [table NAME] section: add one, or say --rows and --columns");
  }
  if (specs.empty()) throw ConfigError(did_you_mean("table of " + grid.file, wanted, names));
  return specs;
}

std::vector<TableSpec> specs_of(const ParsedArguments& parsed) {
  Settings said;
  for (const auto& option : kPlan) {
    const auto found = parsed.extra.find(option.name);
    if (found != parsed.extra.end()) said[option.name] = found->second;
  }
  if (parsed.positionals.size() > 1) {
    throw ConfigError("tandem table takes one grid file, not " +
                      std::to_string(parsed.positionals.size()));
  }
  if (parsed.positionals.empty()) {
    if (said.count("rows") == 0) {
      throw ConfigError(
          "tandem table needs a grid file with a [table NAME] section, or --rows and "
          "--columns");
    }
    return {{"table", said}};
  }
  const Grid grid = read_grid(parsed.positionals.front());
  std::vector<TableSpec> specs;
  if (said.count("rows") != 0 && said.count("columns") != 0) {
    specs = {{grid.name, {{"grid", grid.name}}}};
  } else {
    specs = specs_of_file(grid, extra_value(parsed, kTable));
  }
  for (auto& spec : specs) {
    for (const auto& [name, value] : said) spec.settings[name] = value;
  }
  return specs;
}

ExitCode run_table(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, all_options_of_table());
  const auto specs = specs_of(parsed);
  const std::string out = extra_value(parsed, kTableOut);
  const bool csv = extra_value(parsed, kTableFormat) == "csv";
  if (!out.empty() && specs.size() > 1) {
    throw ConfigError("--out takes one table and there are " + std::to_string(specs.size()) +
                      ": choose one with --table NAME");
  }
  const StoreReader store(database_of(parsed.settings));
  for (const auto& spec : specs) {
    const Table table = build_table(store, plan_table(spec));
    const std::string text = csv ? to_csv(table) : to_markdown(table);
    if (out.empty()) {
      fmt::print("{}{}", text, &spec == &specs.back() ? "" : "\n");
      continue;
    }
    const auto folder = std::filesystem::path(out).parent_path();
    if (!folder.empty()) ensure_folder(folder.string());
    if (!std::filesystem::path(out).has_extension()) {
      save_table(table, out);
      fmt::print("{}.md, .csv and .lineage.json written\n", out);
      continue;
    }
    atomic_write(out, text);
    atomic_write(out + ".lineage.json", write_lineage(lineage_of(table)));
    fmt::print("{} and {}.lineage.json written\n", out, out);
  }
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "table",
     .summary = "print a table of means over seeds",
     .usage = "table FILE [--table NAME] [--out FILE] [--db PATH]\ntable --rows KEYS --columns "
              "MEASURES [--where CONDITIONS] [--grid NAME] [--db PATH]",
     .options = all_options_of_table(),
     .run = run_table});

}  // namespace
}  // namespace tandem
