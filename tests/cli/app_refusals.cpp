// Bad numbers of a command end it before anything runs: exit code 2, a sentence, no database.
#include <catch2/catch.hpp>
#include <filesystem>

#include "core/files.h"
#include "support/run_program.h"

namespace tandem::test::app_refusals_cli {

TEST_CASE("a run that can't be had is refused before its database is made", "[cli]") {
  using Catch::Matchers::Contains;
  const TemporaryFolder folder;
  const std::string db = folder / "r/refused.sqlite";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--batch", "9223372036854775807"}, "GB"},
      {{"--widths", "99999999999"}, "GB"},
      {{"--widths", "1000000000"}, "GB"},
      {{"--density=0"}, "--density 0"},
      {{"--density", "1e-9"}, "can't be had"},
      {{"--epochs=0"}, "trains nothing"},
      {{"--exempt", "layer9"}, "layer0"},
      {{"--widths", "1"}, "width 1"},
      {{"--scenario", "class_il", "--tasks", "11"}, "tasks = 11"},
      {{"--scenario", "general_360", "--epochs", "2"}, "shows each example once"},
      {{"--scenario", "general_360", "--strategy", "ewc"}, "no task ends"},
      {{"--scenario", "general_360", "--pair-classes", "11"}, "2 to 10"},
      {{"--scenario", "general_360", "--pair-rounds", "99999"}, "give fewer rounds"},
      {{"--weights", "gmp", "--prune-begin", "0.9"}, "--prune-begin"},
      {{"--weights", "acdc", "--steps", "3"}, "end dense"}};
  for (const auto& [more, words] : cases) {
    std::vector<std::string> arguments = {"run", "--device", "cpu", "--db", db};
    arguments.insert(arguments.end(), more.begin(), more.end());
    CAPTURE(more);
    const ProgramResult result = run_program(arguments);
    CHECK(result.exit_code == 2);
    CHECK_THAT(result.errors, Contains(words));
    CHECK_FALSE(std::filesystem::exists(db));
  }
}

TEST_CASE("a plan refuses what its runs would be refused for", "[cli]") {
  const TemporaryFolder folder;
  const std::string file = folder / "bad.ini";
  atomic_write(file, "name = bad\nweights = dense, rigl\nwidths = 32\nexempt = layer5\n");
  const ProgramResult plan = run_program({"grid", "plan", file, "--db", folder / "bad.sqlite"});
  CHECK(plan.exit_code == 2);
  CHECK_THAT(plan.errors, Catch::Matchers::Contains("layer0, layer1"));
}

TEST_CASE("what a run is warned of is said, and it runs", "[cli]") {
  using Catch::Matchers::Contains;
  const TemporaryFolder folder;
  const auto run = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "--device", "cpu", "--jobs", "1", "--db", folder / name,
                               "--train_examples", "300", "--steps", "12", "--curve=false"});
    return run_program(more);
  };
  // The first layer's weights are the smallest at the start, and twelve steps leave them so.
  const ProgramResult emptied =
      run("net.sqlite", {"--weights", "gmp", "--prune-scope", "net", "--prune-interval", "3",
                         "--density", "0.005", "--widths", "100,50", "--lr", "0.001"});
  CHECK(emptied.exit_code == 0);
  CHECK_THAT(emptied.errors, Contains("leaves layer 'layer0' no active weight"));
  const ProgramResult by_layer =
      run("layer.sqlite", {"--weights", "gmp", "--prune-interval", "3", "--density", "0.005",
                           "--widths", "100,50", "--lr", "0.001"});
  CHECK(by_layer.exit_code == 0);
  CHECK(by_layer.errors.find("no active weight") == std::string::npos);
  const ProgramResult warmed = run("warm.sqlite", {"--warmup-steps", "13", "--widths", "20"});
  CHECK(warmed.exit_code == 0);
  CHECK_THAT(warmed.errors, Contains("--warmup-steps 13 is longer than a task"));
}

}  // namespace tandem::test::app_refusals_cli
