// `tandem query`: SQL or a named query over the results database.
#include <fmt/format.h>

#include "analysis/query.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"

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
  const StoreReader store(database_of(parsed.settings));
  fmt::print("{}", render(run_query(store, parsed.positionals.front(), parameters), format));
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
