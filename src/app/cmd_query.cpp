// `tandem query`: SQL or a named query over the results database.
#include <fmt/format.h>

#include <algorithm>

#include "analysis/query.h"
#include "analysis/table_plan.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/error.h"
#include "core/log.h"
#include "store/store.h"

namespace tandem {
namespace {

const Option kQueryGrid = text_option("grid", "ask about this grid's runs and trials");
const Option kQuerySet =
    text_option("set", "ask about runs that meet these conditions, KEY=VALUE as in a table");
const Option kQueryAll = {.name = "all",
                          .type = OptionType::kFlag,
                          .default_value = "false",
                          .neutral = "false",
                          .help = "ask about all runs that are stored"};

void print_names() {
  for (const auto& query : named_queries()) fmt::print("  {:<11} {}\n", query.name, query.title);
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
  const ParsedArguments parsed =
      parse_arguments(args, {format_option(), kQueryGrid, kQuerySet, kQueryAll});
  if (parsed.positionals.empty()) {
    fmt::print("named queries (tandem query NAME [PARAMETER ...]):\n");
    print_names();
    return kExitDone;
  }
  const std::vector<std::string> parameters(parsed.positionals.begin() + 1,
                                            parsed.positionals.end());
  const QueryFormat format = parse_query_format(extra_value(parsed, format_option()));
  const std::string database = database_of(parsed.settings);
  const StoreReader store(database);
  const QueryScope scope{extra_value(parsed, kQueryGrid), extra_value(parsed, kQueryAll) == "true",
                         parse_conditions(extra_value(parsed, kQuerySet))};
  if (scope.all && !scope.grid.empty())
    throw ConfigError("--all asks about all runs and --grid about one grid's; give one of them");
  std::string note;
  const QueryResult result = run_query(store, parsed.positionals.front(), parameters, scope, &note);
  fmt::print("{}", render(result, format));
  if (!note.empty()) log_info(note);
  note_interrupted(result, database);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "query",
     .summary = "ask the results database, in SQL or by a named query",
     .usage = "query [SQL | NAME] [PARAMETER ...] [--grid NAME | --all] [--set KEY=VALUE] "
              "[--db PATH] [--format table|csv|json|jsonl|markdown]",
     .text = "Without arguments it lists the named queries. The views v_run, v_eval, v_metric, "
             "v_topology, v_digest, v_continual, v_stability, v_anytime, v_joint and v_storage are "
             "a stable contract. A named query is about the grid that was added last, but about "
             "all runs where the newest belongs to no "
             "grid.",
     .options = {format_option(), kQueryGrid, kQuerySet, kQueryAll},
     .run = run_query});

}  // namespace
}  // namespace tandem
