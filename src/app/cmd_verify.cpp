// `tandem verify`: makes committed tables again and says which changed.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <optional>

#include "analysis/verify.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

// The folder and those below it that have lineages.
std::vector<std::string> folders_of(const std::string& said) {
  std::error_code error;
  if (!fs::is_directory(said, error))
    throw ConfigError(said + ": there is no such folder; name one that tables were written to");
  std::vector<std::string> folders = {said};
  for (const auto& entry : fs::recursive_directory_iterator(said))
    if (entry.is_directory()) folders.push_back(entry.path().string());
  std::sort(folders.begin(), folders.end());
  std::erase_if(folders, [](const std::string& folder) { return lineage_files(folder).empty(); });
  if (folders.empty())
    throw ConfigError(said + ": no table with a lineage (NAME.lineage.json) lies there");
  return folders;
}

std::vector<std::string> dumps_of(const std::string& folder) {
  std::vector<std::string> dumps;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (path.ends_with(".sql.xz") || path.ends_with(".sql")) dumps.push_back(path);
  }
  std::sort(dumps.begin(), dumps.end());
  return dumps;
}

const char* outcome_text(Verified::Outcome outcome) {
  switch (outcome) {
    case Verified::Outcome::kSame:
      return "same";
    case Verified::Outcome::kDiffers:
      return "differs";
    case Verified::Outcome::kNoPlan:
      return "unknown";
    case Verified::Outcome::kNotMade:
      return "not made";
    case Verified::Outcome::kNoLineage:
      return "no lineage";
  }
  return "";
}

// The tables of one folder, from a database or from the dumps that lie beside them.
std::vector<Verified> verify_folder(const std::string& folder,
                                    const std::optional<std::string>& database) {
  const TemporaryFolder temporary;
  const std::string path = database.value_or(temporary.path() + "/runs.sqlite");
  if (!database) {
    const std::vector<std::string> dumps = dumps_of(folder);
    if (dumps.empty()) {
      throw ConfigError(folder +
                        ": has no runs beside its tables (NAME.sql.xz, which `tandem db share` "
                        "writes); say --db PATH");
    }
    StoreWriter writer(path);
    for (const std::string& dump : dumps) writer.merge({.file = dump});
  }
  const StoreReader store(path);
  std::vector<Verified> all;
  for (const std::string& file : lineage_files(folder)) all.push_back(verify_table(store, file));
  return all;
}

ExitCode verify(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {});
  if (parsed.positionals.size() != 1)
    throw ConfigError("tandem verify needs a folder of tables: tandem verify FOLDER");
  std::optional<std::string> database;
  if (parsed.settings.count("db") != 0) database = database_of(parsed.settings);
  std::map<Verified::Outcome, int> counts;
  for (const std::string& folder : folders_of(parsed.positionals.front())) {
    std::vector<Verified> all;
    try {
      all = verify_folder(folder, database);
    } catch (const Error& e) {
      for (const std::string& file : lineage_files(folder))
        all.push_back({file, Verified::Outcome::kNotMade, e.what()});
    }
    for (const Verified& each : all) {
      ++counts[each.outcome];
      fmt::print("{:<10}  {}\n", outcome_text(each.outcome), each.file);
      if (each.outcome == Verified::Outcome::kNoPlan) {
        fmt::print(
            "            its lineage does not say what the table was asked for; write it anew "
            "with `tandem table`\n");
      } else if (!each.detail.empty()) {
        fmt::print("            {}\n", each.detail);
      }
    }
  }
  const int same = counts[Verified::Outcome::kSame];
  int all = 0;
  for (const auto& [outcome, count] : counts) all += count;
  fmt::print("{} of {} tables are what their runs make, byte for byte\n", same, all);
  return same == all ? kExitDone : kExitDiffers;
}

TANDEM_REGISTERED = declare_command(
    {.name = "verify",
     .summary = "make committed tables again and say which changed",
     .usage = "verify FOLDER [--db PATH]",
     .text =
         "Every table that `tandem table --out` wrote below FOLDER is made again by what its "
         "lineage keeps of the question, from\nthe runs that lie beside it (NAME.sql.xz, written "
         "by `tandem db share`) or from the database that --db names,\nand compared byte for "
         "byte. Exit code 4 where one differs, or can't be made.",
     .run = verify});

}  // namespace
}  // namespace tandem
