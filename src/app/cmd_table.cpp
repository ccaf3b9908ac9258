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
                                     "file to write, .md or .csv; its lineage goes to "
                                     "FILE.lineage.json. A name without ending writes .md, .csv "
                                     "and the lineage");
const Option kTableFormat = {.name = "format",
                             .type = OptionType::kChoice,
                             .default_value = "markdown",
                             .neutral = "markdown",
                             .help = "how the table is printed; a file's ending says it",
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

// The format of what is written to `out` ("": standard output, or a device): what its ending says,
// and no other than --format does where that is said.
std::string format_of(const ParsedArguments& parsed, const std::string& out) {
  const std::string said = extra_value(parsed, kTableFormat);
  const std::string ending = std::filesystem::path(out).extension().string();
  if (out.empty() || is_special_file(out)) return said;
  const bool free = parsed.extra.count(kTableFormat.name) == 0;
  if (ending.empty()) {
    if (free) return "";
    throw ConfigError(
        fmt::format("--out {} without an ending writes every format: leave out "
                    "--format, or say --out {}.md or {}.csv",
                    out, out, out));
  }
  if (ending != ".md" && ending != ".csv") {
    throw ConfigError(
        fmt::format("{}: a table is written to a file that ends in .md or .csv", out));
  }
  const std::string format = ending == ".md" ? "markdown" : "csv";
  if (free || said == format) return format;
  throw ConfigError(
      fmt::format("{} ends in {}, and --format says {}: let one of them be the "
                  "other's",
                  out, ending, said));
}

void write_table(const Table& table, const std::string& out, const std::string& format) {
  if (format.empty()) {
    save_table(table, out);
    fmt::print("{}.md, .csv and .lineage.json written\n", out);
    return;
  }
  OutputFiles files;
  const bool special = is_special_file(out);
  files.add(out, format == "csv" ? to_csv(table) : to_markdown(table));
  if (!special) files.add(out + ".lineage.json", write_lineage(lineage_of(table)));
  files.commit();
  if (!special) fmt::print("{} and {}.lineage.json written\n", out, out);
}

ExitCode run_table(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, all_options_of_table());
  const auto specs = specs_of(parsed);
  const std::string out = extra_value(parsed, kTableOut);
  const std::string format = format_of(parsed, out);
  if (!out.empty() && specs.size() > 1) {
    throw ConfigError("--out takes one table and there are " + std::to_string(specs.size()) +
                      ": choose one with --table NAME");
  }
  const StoreReader store(database_of(parsed.settings));
  for (const auto& spec : specs) {
    const Table table = build_table(store, plan_table(spec));
    if (!out.empty()) {
      write_table(table, out, format);
      continue;
    }
    const std::string text = format == "csv" ? to_csv(table) : to_markdown(table);
    fmt::print("{}{}", text, &spec == &specs.back() ? "" : "\n");
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
