// `tandem run`: a grid of one.
#include <fmt/format.h>

#include <cstdio>

#include "analysis/query.h"
#include "app/command.h"
#include "app/execute.h"
#include "app/run_content.h"
#include "config/command_line.h"
#include "core/log.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr const char* kLonger =
    "SELECT 1 FROM v_eval WHERE run = ?1 AND read_context IS NOT NULL LIMIT 1";

// `lengths`: the columns that tell longer windows apart, where there are any.
std::string final_evaluations(const std::string& lengths) {
  return "SELECT split, task, attention_readout AS attention, attention_budget AS blocks, "
         "weights_readout AS weights, weights_budget AS density, masked, " +
         lengths +
         "n_correct, n_total, round(accuracy, 4) AS accuracy, round(loss, 4) AS loss FROM v_eval v "
         "WHERE run = ?1 AND stage = (SELECT max(stage) FROM v_eval WHERE run = ?1) AND step = "
         "(SELECT max(step) FROM v_eval e WHERE e.run = ?1 AND e.stage = v.stage) ORDER BY split, "
         "task, attention, blocks DESC, weights, density DESC, read_context, scaling, condition";
}

// Of a task sequence: what was kept and what was forgotten, in each read-out at the budgets that it
// trained with.
constexpr const char* kSequence =
    "SELECT c.split, c.n_tasks AS tasks, c.attention_readout AS attention, c.weights_readout AS "
    "weights, c.masked, round(c.acc, 4) AS acc, round(c.f_chaudhry, 4) AS forgetting, "
    "round(c.learning_accuracy, 4) AS learning_accuracy, round(c.f_nats, 4) AS f_nats, "
    "round(c.f_bits_per_byte, 4) AS f_bits_per_byte FROM v_continual c WHERE c.run = ?1 AND "
    "c.n_tasks > 1 AND (c.weights_budget IS NULL OR abs(c.weights_budget - c.density) < 1e-9) AND "
    "(c.attention_budget IS NULL OR c.attention_budget = c.blocks) AND c.read_context IS NULL AND "
    "c.condition IS NULL ORDER BY c.split, c.masked, "
    "attention, weights";

void print_run(const std::string& database, const std::string& id) {
  const StoreReader store(database);
  const RunRecord run = store.find_run(id);
  const auto message = store.query("SELECT message FROM v_run WHERE run = ?1", {id});
  const bool told = !message.rows.empty() && !message.null[0][0] && !message.rows[0][0].empty();
  fmt::print("database  {}\nrun       {}\nstate     {} after {} steps, {:.1f} s\n\n", database, id,
             run.state, run.step, run.seconds);
  if (told) {
    fmt::print(
        "why       {}\n{}\n", message.rows[0][0],
        run.state == "diverged"
            ? "          a smaller --lr or --clip 1 often helps; it counts as diverged in tables\n"
            : "");
  }
  const bool longer = !store.query(kLonger, {id}).rows.empty();
  const std::string evaluations =
      final_evaluations(longer ? "read_context, scaling, condition, " : "");
  fmt::print("{}", render(store.query(evaluations, {id}), QueryFormat::kAligned));
  const QueryResult sequence = store.query(kSequence, {id});
  if (run.state == "done" && !sequence.rows.empty()) {
    fmt::print("\n{}", render(sequence, QueryFormat::kAligned));
  }
}

void print_stopped(const std::string& database, const std::string& id) {
  const RunRecord run = StoreReader(database).find_run(id);
  fmt::print("run {} stopped after {} steps, {:.1f} s; the same command goes on from there\n",
             short_id(id), run.step, run.seconds);
}

ExitCode run_run(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {stop_after_steps_option()});
  if (!parsed.positionals.empty()) {
    throw ConfigError(
        "'" + parsed.positionals.front() +
        "' is no option: a run is described by --name VALUE alone, a flag by --name or "
        "--name=false; a grid file is run by `tandem grid run FILE`");
  }
  Execution execution;
  const Config said = Config::resolve(parsed.settings);
  execution.runs = {
      with_found_content(said, {.database = said.text("db"), .use = ContentUse::kTrain})};
  execution.stop_after_steps = *parse_integer(extra_value(parsed, stop_after_steps_option()));
  const Config& config = execution.runs.front();
  set_log_level(config.text("log_level"));
  const ExecutionReport report = execute(execution);
  if (!report.pool.failures.empty()) {
    const RunFailure& failure = report.pool.failures.front();
    throw Error(failure.code, "run " + short_id(failure.run) + ": " + failure.message);
  }
  if (report.pool.stopped) {
    print_stopped(config.text("db"), config.id());
  } else {
    print_run(config.text("db"), config.id());
  }
  return exit_code(report);
}

TANDEM_REGISTERED = declare_command(
    {.name = "run",
     .summary = "train one run and print its evaluations",
     .usage = "run [--weights METHOD] [--attention METHOD] [--seed N] [--OPTION VALUE ...]",
     .text = "A run that is in the database already is not trained again; one that was stopped "
             "resumes from its checkpoint.",
     .options = {stop_after_steps_option()},
     .takes_config = true,
     .run = run_run});

}  // namespace
}  // namespace tandem
