// `tandem tail`: a run's validation curves in both read-outs, and what its probes say, as they
// arrive.
#include <fmt/format.h>

#include <chrono>
#include <map>
#include <thread>

#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

const Option kOnce = {.name = "once",
                      .type = OptionType::kFlag,
                      .default_value = "false",
                      .neutral = "false",
                      .help = "print what there is and end"};
const Option kEvery = {.name = "every",
                       .type = OptionType::kReal,
                       .default_value = "1",
                       .neutral = "1",
                       .help = "time between looks at the database",
                       .unit = "s",
                       .minimum = 0.05};

// Rows of run ?1 beyond sequence ?2.
constexpr const char* kEvaluations =
    "SELECT sequence, step, task, CASE WHEN attention_readout = 'none' THEN weights_readout ELSE "
    "attention_readout || '/' || weights_readout END || coalesce(' at ' || read_context, '') || "
    "coalesce(' ' || scaling, '') || coalesce(' ' || condition, '') AS readout, "
    "coalesce(round(weights_budget, "
    "4), "
    "'') AS density, coalesce(attention_budget, '') AS blocks, masked, printf('%.4f', accuracy), "
    "coalesce(printf('%.4f', loss), 'not finite') FROM v_eval WHERE run = ?1 AND split = "
    "'validation' "
    "AND sequence > CAST(?2 AS INTEGER) ORDER BY sequence";
constexpr const char* kMetrics =
    "SELECT sequence, step, layer, name, coalesce(printf('%.5g', value), 'not finite') FROM "
    "v_metric "
    "WHERE run = ?1 AND sequence > CAST(?2 AS INTEGER) AND (name IN ('gap', 'train_loss', "
    "'first_non_finite_step') OR name LIKE 'dead%') ORDER BY sequence";

class Tail {
 public:
  Tail(const std::string& database, const std::string& prefix)
      : store_(database), run_(store_.find_run(prefix).id) {}

  void head() const {
    const RunRecord record = store_.find_run(run_);
    std::map<std::string, std::string> values(record.values.begin(), record.values.end());
    fmt::print("run {}: {} / {}, {}, seed {}\n", short_id(run_), values["weights"],
               values["attention"], values["data"], values["seed"]);
  }

  // Prints what is new; the run's state.
  std::string look() {
    const std::string state = store_.find_run(run_).state;  // first, so that no last row is missed
    std::map<std::int64_t, std::string> lines;              // by sequence
    for (const auto& row : store_.query(kEvaluations, {run_, std::to_string(seen_)}).rows) {
      std::string at = row[3];
      if (!row[4].empty()) at += " density " + row[4];
      if (!row[5].empty()) at += " blocks " + row[5];
      if (row[6] == "1") at += " masked";
      lines[*parse_integer(row[0])] =
          fmt::format("step {:>8}  task {:>2}  {:<28} accuracy {}  loss {}", row[1], row[2], at,
                      row[7], row[8]);
    }
    for (const auto& row : store_.query(kMetrics, {run_, std::to_string(seen_)}).rows) {
      const std::string where = row[2].empty() ? "" : " of " + row[2];
      lines[*parse_integer(row[0])] =
          fmt::format("step {:>8}  {}{} {}", row[1], row[3], where, row[4]);
    }
    for (const auto& [sequence, line] : lines) fmt::print("{}\n", line);
    if (!lines.empty()) seen_ = lines.rbegin()->first;
    flush_output();
    return state;
  }

 private:
  StoreReader store_;
  std::string run_;
  std::int64_t seen_ = -1;
};

// Nobody comes to a queued run while no program writes the database.
bool has_ended(const std::string& state, const std::string& database) {
  return state != "running" && (state != "queued" || !has_live_writer(database));
}

std::string last_words(const std::string& state) {
  if (state == "interrupted") {
    return "interrupted: its program was killed; the command that began it goes on from the last "
           "checkpoint";
  }
  if (state == "stopped") return "stopped; the command that began it goes on from there";
  if (state == "queued")
    return "queued: no program is at work on it; the command that asked for it begins it";
  return state;
}

ExitCode run_tail(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kOnce, kEvery});
  if (parsed.positionals.size() != 1) throw ConfigError("tandem tail needs one run's id");
  const bool once = extra_value(parsed, kOnce) == "true";
  const std::chrono::duration<double> every(*parse_real(extra_value(parsed, kEvery)));
  const std::string database = database_of(parsed.settings);
  Tail tail(database, parsed.positionals.front());
  end_at_interrupt("\ntandem: no longer following; the run itself goes on\n");
  tail.head();
  std::string state = tail.look();
  while (!once && !has_ended(state, database)) {
    std::this_thread::sleep_for(every);
    state = tail.look();
  }
  fmt::print("{}\n", last_words(state));
  return kExitDone;
}

TANDEM_REGISTERED = declare_command({.name = "tail",
                                     .summary = "follow a run's validation curves and probes",
                                     .usage = "tail RUN [--once] [--every SECONDS] [--db PATH]",
                                     .options = {kOnce, kEvery},
                                     .run = run_tail});

}  // namespace
}  // namespace tandem
