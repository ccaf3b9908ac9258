// Help, lists, versions and the exit codes of what a user can get wrong.
#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <regex>

#include "app/command.h"
#include "config/command_line.h"
#include "config/part.h"
#include "core/files.h"
#include "support/run_program.h"
#include "support/skip.h"

namespace tandem::test::app_help_cli {
namespace {

void write_text(const std::string& path, const std::string& text) { atomic_write(path, text); }

}  // namespace

TEST_CASE("help names every command, and every command has help", "[cli]") {
  const ProgramResult all = run_program({"--help"});
  CHECK(all.exit_code == 0);
  CHECK(all.errors.empty());
  for (const Command* command : all_commands()) {
    INFO(command->name);
    CHECK((all.output.find("  " + command->name + " ") != std::string::npos) != command->hidden);
    const ProgramResult one = run_program({command->name, "--help"});
    CHECK(one.exit_code == 0);
    CHECK(one.output.find("usage: tandem " + command->name) != std::string::npos);
  }
  CHECK(run_program({"grid", "run", "--help"}).exit_code == 0);
}

TEST_CASE("run's help has every option of a run", "[cli]") {
  for (const char* command : {"run", "grid"}) {
    const ProgramResult all = run_program({command, "--help-all"});
    for (const auto& option : all_options()) {
      INFO(option.name);
      CHECK((all.output.find(as_typed(option.name) + " ") != std::string::npos) ==
            option.retired.empty());
    }
    const ProgramResult help = run_program({command, "--help"});
    CHECK(std::count(help.output.begin(), help.output.end(), '\n') < 60);
    CHECK(help.output.find("--help-all") != std::string::npos);
    for (const auto& output : {all.output, help.output}) {
      CHECK_FALSE(std::regex_search(output, std::regex("--[a-z0-9-]+_")));
    }
  }
}

TEST_CASE("no command prints the help to standard error and fails", "[cli]") {
  const ProgramResult result = run_program({});
  CHECK(result.exit_code == 2);
  CHECK(result.output.empty());
  CHECK(result.errors.find("usage: tandem COMMAND") != std::string::npos);
}

TEST_CASE("the version names the revision", "[cli]") {
  const ProgramResult result = run_program({"--version"});
  CHECK(result.exit_code == 0);
  CHECK(result.output.rfind("tandem 0.", 0) == 0);
  CHECK(result.output.find("revision") != std::string::npos);
}

TEST_CASE("what is misspelt is answered with the nearest name", "[cli]") {
  struct Mistake {
    std::vector<std::string> arguments;
    std::string expected;
  };
  const std::vector<Mistake> mistakes = {{{"rnu"}, "run"},
                                         {{"run", "--wieghts", "rigl"}, "weights"},
                                         {{"run", "--weights", "rigle"}, "rigl"},
                                         {{"run", "--seed", "three"}, "three"},
                                         {{"run", "--density", "1.5"}, "1.5"},
                                         {{"grid", "rnu", "file"}, "run"},
                                         {{"list", "method"}, "methods"},
                                         {{"query", "--formt", "csv"}, "format"}};
  for (const auto& mistake : mistakes) {
    const ProgramResult result = run_program(mistake.arguments);
    INFO(mistake.arguments.back() << ": " << result.errors);
    CHECK(result.exit_code == 2);
    CHECK(result.errors.rfind("tandem: error: ", 0) == 0);
    CHECK(result.errors.find(mistake.expected) != std::string::npos);
    CHECK(result.output.empty());
  }
}

TEST_CASE("missing arguments are config errors", "[cli]") {
  const std::vector<std::vector<std::string>> lines = {
      {"grid"},  {"grid", "run"}, {"list"},          {"tail"},          {"export"},
      {"table"}, {"why"},         {"run", "--seed"}, {"run", "a.grid"}, {"worker", "x"}};
  for (const auto& arguments : lines) {
    INFO(arguments.front());
    CHECK(run_program(arguments).exit_code == 2);
  }
}

TEST_CASE("missing data is a data error that says how to get it", "[cli]") {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_program({"run", "--data", "kmnist", "--data-dir", folder.path(), "--steps", "1", "--db",
                   folder / "t.sqlite", "--device", "cpu"});
  INFO(result.errors);
  CHECK(result.exit_code == 3);
  CHECK(result.errors.find("kmnist") != std::string::npos);
}

TEST_CASE("a GPU that isn't there is a device error, before anything is written", "[cli]") {
  if (std::filesystem::exists("/dev/nvidiactl")) {
    return test::skip("this machine has a GPU");
  }
  const TemporaryFolder folder;
  const ProgramResult result =
      run_program({"run", "--device", "cuda", "--db", folder / "r/t.sqlite"});
  INFO(result.errors);
  CHECK(result.exit_code == 5);
  CHECK(result.errors.find("--device cpu") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "r"));
}

TEST_CASE("files that are no database of this program are refused untouched", "[cli]") {
  const TemporaryFolder folder;
  const std::string path = folder / "t.sqlite";
  SECTION("text") { write_text(path, "this is a letter to my aunt, not a database at all\n"); }
  SECTION("another program's database") {
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    db.exec("CREATE TABLE album (name TEXT)");
  }
  SECTION("a newer version") {
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    db.exec("PRAGMA application_id = 0x54616E64; PRAGMA user_version = 999; CREATE TABLE meta (k)");
  }
  const std::string before = read_file(path);
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"query", "runs", "--db", path},
           {"run", "--steps", "1", "--device", "cpu", "--db", path}}) {
    const ProgramResult result = run_program(arguments);
    INFO(arguments.front() << ": " << result.errors);
    CHECK(result.exit_code == 4);
  }
  CHECK(read_file(path) == before);
}

TEST_CASE("a database that isn't there is a store error that says what makes one", "[cli]") {
  const TemporaryFolder folder;
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"query", "runs"}, {"tail", "abc"}, {"why", "abc"}, {"export", "abc"}}) {
    std::vector<std::string> with_db = arguments;
    with_db.insert(with_db.end(), {"--db", folder / "none.sqlite"});
    const ProgramResult result = run_program(with_db);
    CHECK(result.exit_code == 4);
    CHECK(result.errors.find("tandem run") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "none.sqlite"));
}

TEST_CASE("lists show what is registered", "[cli]") {
  const std::vector<std::pair<std::string, std::string>> topics = {
      {"methods", "weights"}, {"methods", "attention"},    {"strategies", "strategy"},
      {"probes", "probe"},    {"scenarios", "scenario"},   {"models", "model"},
      {"data", "data"},       {"optimizers", "optimizer"}, {"criteria", "criterion"}};
  for (const auto& [topic, kind] : topics) {
    const ProgramResult result = run_program({"list", topic});
    CHECK(result.exit_code == 0);
    for (const auto& part : parts_of(kind)) {
      INFO(topic << " " << part.name);
      CHECK(result.output.find("  " + part.name + " ") != std::string::npos);
      CHECK(result.output.find(part.summary) != std::string::npos);
    }
  }
  const ProgramResult options = run_program({"list", "options"});
  CHECK(options.exit_code == 0);
  CHECK(options.output.find("--density") != std::string::npos);
}

TEST_CASE("doctor reports on this machine", "[cli]") {
  const ProgramResult result = run_program({"doctor"});
  CHECK(result.exit_code == 0);
  for (const char* word : {"torch", "sqlite", "cuda", "processor", "fashion_mnist"}) {
    CHECK(result.output.find(word) != std::string::npos);
  }
}

}  // namespace tandem::test::app_help_cli
