// log_level: the least severity that reaches standard error.
#include <catch2/catch.hpp>

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

}  // namespace tandem::test::app_log_level_cli
