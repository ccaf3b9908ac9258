// `tandem db`: care of a results database.
#include <fmt/format.h>

#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

ExitCode check(const std::string& database) {
  if (!path_exists(database)) StoreReader{database};  // says what is missing, and makes no file
  const std::vector<std::string> faults = StoreWriter(database).faults();
  for (const std::string& fault : faults) fmt::print("{}\n", fault);
  const StoreReader store(database);
  fmt::print("{}: {} runs, schema version {}, {}\n", database,
             store.query("SELECT count(*) FROM run").rows[0][0], kStoreVersion,
             faults.empty() ? "no faults" : std::to_string(faults.size()) + " faults");
  return faults.empty() ? kExitDone : kExitStore;
}

ExitCode run_db(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {});
  const std::vector<std::string> names = {"check"};
  if (parsed.positionals.size() != 1) {
    throw ConfigError("tandem db needs one name: " + join(names, ", "));
  }
  if (parsed.positionals.front() != names.front()) {
    throw ConfigError(did_you_mean("part of tandem db", parsed.positionals.front(), names));
  }
  return check(database_of(parsed.settings));
}

TANDEM_REGISTERED = declare_command(
    {.name = "db",
     .summary = "look after a results database",
     .usage = "db check [--db PATH]",
     .text =
         "check brings a database of an earlier version forward, and then verifies it: that the "
         "file is whole, that no row points at nothing, that ids, typed configs and final "
         "results fit what the runs logged.",
     .takes_config = false,
     .run = run_db});

}  // namespace
}  // namespace tandem
