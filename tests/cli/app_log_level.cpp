// log_level: the least severity that reaches standard error.
#include <catch2/catch.hpp>
#include <regex>

#include "core/error.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_log_level_cli {

TEST_CASE("log_level leaves out what is less severe", "[cli]") {
  const TemporaryFolder folder;
  // A run of which the program warns: its one-sided alignment is known to diverge.
  const auto errors_at = [&](const std::string& level) {
    const ProgramResult result = run_program({"run",         "--weights",
                                              "ssa",         "--weights-lambda-full",
                                              "0",           "--widths",
                                              "20",          "--steps",
                                              "1",           "--train-examples",
                                              "50",          "--curve=false",
                                              "--device",    "cpu",
                                              "--jobs",      "1",
                                              "--db",        folder / (level + ".sqlite"),
                                              "--log-level", level});
    CHECK(result.exit_code == 0);
    return result.errors;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  for (const std::string level : {"debug", "info", "warn", "off"}) {
    const std::string errors = errors_at(level);
    INFO(level << ": " << errors);
    CHECK(has(errors, " info ") == (level == "debug" || level == "info"));
    CHECK(has(errors, " warning ") == (level != "off"));
  }
  const ProgramResult refused = run_program({"run", "--log-level", "loud"});
  CHECK(refused.exit_code == 2);
  CHECK(has(refused.errors, "debug, info, off, warn"));
}

TEST_CASE("a worker's line has its time and its level once", "[cli]") {
  const TemporaryFolder folder;
  const std::vector<std::string> words = {
      "run", "--widths",      "20",       "--steps", "6",    "--train-examples",
      "50",  "--curve=false", "--device", "cpu",     "--db", folder / "r.sqlite"};
  std::vector<std::string> stopped = words;
  stopped.insert(stopped.end(), {"--stop-after-steps", "3"});
  CHECK(run_program(stopped).exit_code == kExitStopped);
  const ProgramResult resumed = run_program(words);
  INFO(resumed.errors);
  REQUIRE(resumed.exit_code == 0);
  const std::regex line(
      "(^|\n)[0-9]{2}:[0-9]{2}:[0-9]{2} info (\\[group [0-9a-f]+\\] )?resumed at stage 0, step "
      "3\n");
  CHECK(std::regex_search(resumed.errors, line));
}

TEST_CASE("a run of a task sequence ends with what it kept and forgot", "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite";
  const ProgramResult run = run_program({"run", "--weights", "ssa", "--scenario", "class_il",
                                         "--tasks", "2", "--widths", "20", "--steps", "10",
                                         "--train-examples", "100", "--device", "cpu", "--db", db});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const std::size_t told = run.output.rfind("forgetting");
  REQUIRE(told != std::string::npos);
  const std::string end = run.output.substr(run.output.rfind("\n\n"));
  INFO(end);
  const QueryResult stored = StoreReader(db).query(
      "SELECT printf('%.4g', round(acc, 4)), printf('%.4g', round(f_chaudhry, 4)), weights_readout "
      "FROM v_continual WHERE weights_budget IS NULL OR weights_budget = density");
  REQUIRE(stored.rows.size() >= 2);  // the full and the sparse net
  for (const auto& row : stored.rows) {
    for (const std::string& value : row) CHECK(end.find(value) != std::string::npos);
  }
}

}  // namespace tandem::test::app_log_level_cli
