// `tandem query`: SQL or a named query over the results database.
#include <fmt/format.h>

#include <algorithm>

#include "analysis/query.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/log.h"
#include "store/store.h"

namespace tandem {
namespace {

const Option kQueryFormat = {.name = "format",
                             .type = OptionType::kChoice,
                             .default_value = "table",
                             .neutral = "table",
                             .help = "how rows are printed",
                             .choices = {"table", "csv", "json"}};

void print_names() {
  for (const auto& query : named_queries()) fmt::print("  {:<10} {}\n", query.name, query.title);
}

// SQL reads what is stored, and a program that was killed leaves its runs as running.
void note_interrupted(const QueryResult& result, const std::string& database) {
  const auto state = std::find(result.columns.begin(), result.columns.end(), "state");
  if (state == result.columns.end()) return;
  const auto column = static_cast<std::size_t>(state - result.columns.begin());
  const auto running =
      std::count_if(result.rows.begin(), result.rows.end(),
                    [column](const auto& row) { return row[column] == "running"; });
  if (running == 0 || has_live_writer(database)) return;
  log_warn(
      fmt::format("{} of these rows say running, but no program is at work on {}: they were "
                  "interrupted, and the command that asked for them goes on",
                  running, database));
}

ExitCode run_query(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kQueryFormat});
  if (parsed.positionals.empty()) {
    fmt::print("named queries (tandem query NAME [PARAMETER ...]):\n");
    print_names();
    return kExitDone;
  }
  const std::vector<std::string> parameters(parsed.positionals.begin() + 1,
                                            parsed.positionals.end());
  const QueryFormat format = parse_query_format(extra_value(parsed, kQueryFormat));
  const std::string database = database_of(parsed.settings);
  const StoreReader store(database);
  const QueryResult result = run_query(store, parsed.positionals.front(), parameters);
  fmt::print("{}", render(result, format));
  note_interrupted(result, database);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "query",
     .summary = "ask the results database, in SQL or by a named query",
     .usage = "query [SQL | NAME] [PARAMETER ...] [--db PATH] [--format table|csv|json]",
     .text = "Without arguments it lists the named queries. The views v_run, v_eval, v_metric, "
             "v_topology and v_continual are a stable contract.",
     .options = {kQueryFormat},
     .run = run_query});

}  // namespace
}  // namespace tandem
