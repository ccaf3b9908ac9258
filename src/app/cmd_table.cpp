// `tandem table`: means over seeds, as a [table] section of a grid file or the command line says,
// with the lineage of every number beside the file that it is written to.
#include <fmt/format.h>

#include <filesystem>

#include "analysis/lineage.h"
#include "analysis/sequence_measures.h"
#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "app/command.h"
#include "app/execute.h"
#include "app/run_content.h"
#include "app/run_grid.h"
#include "config/command_line.h"
#include "config/grid.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text.h"

namespace tandem {
namespace {

const Option kTable = text_option("table", "the [table NAME] sections of the grid file to print");
const Option kTableOut = text_option(
    "out",
    "file to write, in the format of its ending; its lineage goes to FILE.lineage.json. A name "
    "without ending writes .md, .csv and the lineage. Of several tables each goes to "
    "NAME_TABLE");

Option flag_option(const std::string& name, const std::string& help) {
  return {.name = name,
          .type = OptionType::kFlag,
          .default_value = "false",
          .neutral = "false",
          .help = help};
}

const Option kPlain = flag_option("plain", "LaTeX without siunitx");
const Option kLongTable = flag_option("longtable", "LaTeX: a table that goes on over pages");

std::vector<Option> plan_options() {
  std::vector<Option> options;
  for (const TableSetting& setting : table_settings())
    options.push_back(text_option(setting.name.c_str(), setting.help.c_str()));
  return options;
}

std::vector<Option> all_options_of_table() {
  std::vector<Option> options = {kTable, kTableOut, table_format_option(), kPlain, kLongTable};
  const std::vector<Option> plan = plan_options();
  options.insert(options.end(), plan.begin(), plan.end());
  return options;
}

std::vector<TableSpec> specs_of_file(const Grid& grid, const std::string& wanted) {
  std::vector<TableSpec> specs;
  std::vector<std::string> names;
  for (const TableSpec& spec : grid.tables) {
    names.push_back(spec.name);
    if (wanted.empty() || spec.name == wanted) specs.push_back(spec);
  }
  if (names.empty()) {
    throw ConfigError(grid.file +
                      " has no [table NAME] section: add one, or say --rows and --columns");
  }
  if (specs.empty()) throw ConfigError(did_you_mean("table of " + grid.file, wanted, names));
  return specs;
}

Settings said_plan(const ParsedArguments& parsed) {
  Settings said;
  for (const Option& option : plan_options()) {
    const auto found = parsed.extra.find(option.name);
    if (found != parsed.extra.end()) said[option.name] = found->second;
  }
  return said;
}

bool says_rows(const Settings& said) { return said.count("rows") + said.count("ranks") != 0; }

// Without a file.
std::vector<TablePlan> plans_of_options(const Settings& said) {
  if (!says_rows(said)) {
    throw ConfigError(
        "tandem table needs a grid file with a [table NAME] section, or --rows and "
        "--columns");
  }
  return {plan_table({"table", said})};
}

// The file's runs, but where a section or the command line names another grid: then those that are
// stored under its name.
std::vector<TablePlan> plans_of_file(const std::string& path, const ParsedArguments& parsed,
                                     const std::string& database) {
  const Settings said = said_plan(parsed);
  const Grid grid = read_grid_with_content(path, {{"db", database}}, ContentUse::kRead);
  std::vector<TableSpec> specs = {{grid.name, {}}};
  if (!says_rows(said) || said.count("columns") == 0) {
    specs = specs_of_file(grid, extra_value(parsed, kTable));
  }
  std::optional<WantedRuns> wanted;
  std::vector<TablePlan> plans;
  for (auto& spec : specs) {
    for (const auto& [name, value] : said) spec.settings[name] = value;
    plans.push_back(plan_table(spec));
    const std::string& named = plans.back().grid;
    if (said.count("grid") != 0 || (!named.empty() && named != grid.name)) continue;
    if (!wanted) wanted = wanted_runs(grid, database);
    plans.back().wanted = wanted;
    plans.back().grid = grid.name;
  }
  return plans;
}

std::vector<TablePlan> plans_of(const ParsedArguments& parsed, const std::string& database) {
  if (parsed.positionals.size() > 1) {
    throw ConfigError("tandem table takes one grid file, not " +
                      std::to_string(parsed.positionals.size()));
  }
  return parsed.positionals.empty() ? plans_of_options(said_plan(parsed))
                                    : plans_of_file(parsed.positionals.front(), parsed, database);
}

// The format of what is written to `out` ("": standard output, or a device): what its ending says,
// and no other than --format does where that is said.
std::string format_of(const ParsedArguments& parsed, const std::string& out) {
  const std::string said = extra_value(parsed, table_format_option());
  const std::string ending = std::filesystem::path(out).extension().string();
  if (out.empty() || is_special_file(out)) return said;
  const bool free = parsed.extra.count("format") == 0;
  std::vector<std::string> endings;
  for (const TableWriter& writer : table_writers()) endings.push_back(writer.ending);
  if (ending.empty()) {
    if (free) return "";
    throw ConfigError(
        fmt::format("--out {} without an ending writes .md and .csv: leave out --format, or say "
                    "--out {}{}",
                    out, out, table_writer(said).ending));
  }
  const TableWriter* writer = table_writer_of(ending);
  if (writer == nullptr) {
    throw ConfigError(
        fmt::format("{}: a table is written to a file that ends in {}", out, join(endings, ", ")));
  }
  if (free || said == writer->name) return writer->name;
  throw ConfigError(
      fmt::format("{} ends in {}, and --format says {}: let one of them be the "
                  "other's",
                  out, ending, said));
}

// "": Markdown and CSV, as a pair.
TableStyle style_of(const ParsedArguments& parsed, const std::string& format) {
  const TableStyle style{.plain = extra_value(parsed, kPlain) == "true",
                         .longtable = extra_value(parsed, kLongTable) == "true"};
  if ((style.plain || style.longtable) && format != "latex") {
    throw ConfigError(fmt::format("--{} is of LaTeX: say --format latex, or --out FILE.tex",
                                  style.plain ? "plain" : "longtable"));
  }
  return style;
}

void write_table(const Table& table, const std::string& out, const std::string& format,
                 const TableStyle& style) {
  if (format.empty()) {
    save_table(table, out);
    fmt::print("{}.md, .csv and .lineage.json written\n", out);
    return;
  }
  OutputFiles files;
  const bool special = is_special_file(out);
  files.add(out, table_writer(format).write(table, style));
  if (!special) files.add(out + ".lineage.json", write_lineage(lineage_of(table)));
  files.commit();
  if (!special) fmt::print("{} and {}.lineage.json written\n", out, out);
}

// Of several tables each is in files of its own: NAME_TABLE, with the same ending.
std::string out_of(const std::string& out, const std::string& table) {
  const std::filesystem::path path(out);
  return (path.parent_path() / path.stem()).string() + "_" + table + path.extension().string();
}

ExitCode run_table(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, all_options_of_table());
  const std::string database = database_of(parsed.settings);
  const auto plans = plans_of(parsed, database);
  const std::string out = extra_value(parsed, kTableOut);
  const std::string format = format_of(parsed, out);
  const TableStyle style = style_of(parsed, format);
  const bool several = plans.size() > 1;
  if (several && is_special_file(out)) {
    throw ConfigError(
        fmt::format("--out {} takes one table and there are {}: choose one with "
                    "--table NAME",
                    out, plans.size()));
  }
  const StoreReader store(database);
  std::vector<Table> tables;  // all of them before any is written
  for (const auto& plan : plans) {
    tables.push_back(build_table(store, plan));
    for (const std::string& warning : tables.back().warnings) log_warn(warning);
  }
  for (const Table& table : tables) {
    if (!out.empty()) {
      write_table(table, several ? out_of(out, table.name) : out, format, style);
      continue;
    }
    const std::string text = table_writer(format).write(table, style);
    fmt::print("{}{}", text, &table == &tables.back() ? "" : "\n");
  }
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "table",
     .summary = "print a table of means over seeds, in any format of a paper or a page",
     .usage = "table FILE [--table NAME] [--out FILE] [--db PATH]\ntable --rows KEYS --columns "
              "MEASURES [--where CONDITIONS] [--grid NAME] [--db PATH]",
     .text =
         "FILE decides which runs a table shows, whatever other grid is stored under its name; "
         "what "
         "of them is missing is said below\nthe table. Measures: accuracy, loss, bits_per_byte, "
         "metric:NAME, average:NAME, any number of v_run, and of task\nsequences " +
         join(sequence_measure_names(), ", ") +
         ",\nr_STAGE_TASK. docs/measures.md says what they are.",
     .options = all_options_of_table(),
     .run = run_table});

}  // namespace
}  // namespace tandem
