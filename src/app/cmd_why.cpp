// `tandem why`: the runs behind a number.
#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "analysis/why.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/files.h"

namespace tandem {
namespace {

// The lineage of a table: given itself, the table's file, or the name that --out had. "" where
// there is none.
std::string lineage_path(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string stem = fs::path(given).replace_extension().string();
  for (const std::string& path : {given + ".lineage.json", stem + ".lineage.json", given}) {
    if (fs::is_regular_file(path, error)) return path;
  }
  return "";
}

ExitCode run_why(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  const auto& words = parsed.positionals;
  if (words.empty() || words.size() > 3) {
    throw ConfigError("tandem why needs a run's id, or a table file with a row and a column");
  }
  const std::string path = lineage_path(words[0]);
  if (!path.empty()) {
    const Lineage lineage = read_lineage(read_file(path));
    const std::string row = words.size() > 1 ? words[1] : "";
    const std::string column = words.size() > 2 ? words[2] : "";
    fmt::print("{}", explain_cell(lineage, row, column));
    return kExitDone;
  }
  std::error_code error;
  if (std::filesystem::is_directory(words[0], error)) {
    throw DataError(words[0] + " is a folder; `tandem why` takes a run's id or a table's file");
  }
  if (words.size() > 1) {
    throw DataError(words[0] +
                    ": there is no such table file; `tandem table --out FILE` writes one");
  }
  const StoreReader store(database_of(parsed.settings));
  fmt::print("{}", explain_run(store, words[0]));
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "why",
     .summary = "explain a run, or a number of a table",
     .usage = "why RUN [--db PATH]\nwhy TABLE_FILE ROW COLUMN",
     .text = "RUN is the first digits of a run's id. ROW is the values of the row's keys joined by "
             "commas, or key=value pairs; COLUMN the column's head.",
     .run = run_why});

}  // namespace
}  // namespace tandem
