// A grid's file decides what the grid is: a part of it that is run, an edit, or another file of its
// name leave tables true; what can't be right is refused before the first step.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_grid_parts_cli {
namespace {

constexpr const char* kRest = R"(density = 0.2
train_examples = 512
batch = 64
steps = 6
widths = 16
device = cpu
[table accuracy]
rows = weights
columns = accuracy@sparse
)";

struct Place {
  TemporaryFolder folder;
  std::string db = folder / "r.sqlite";

  std::string write(const std::string& name, const std::string& text) const {
    atomic_write(folder / name, text);
    return folder / name;
  }
  ProgramResult program(std::vector<std::string> words) const {
    words.insert(words.end(), {"--db", db});
    return run_program(words);
  }
  std::string count(const std::string& sql) const { return StoreReader(db).query(sql).rows[0][0]; }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

// One case, since each start of a worker costs a second.
TEST_CASE("a part of a grid, an edit and a namesake leave its tables true", "[cli]") {
  const Place place;
  const std::string rest = kRest;
  const std::string file =
      place.write("s.ini", "name = s\nweights = dense, rigl\nseed = 1..2\n" + rest);
  const ProgramResult part = place.program({"grid", "run", file, "--seed=1", "--weights=rigl"});
  INFO(part.errors);
  REQUIRE(part.exit_code == 0);
  CHECK_FALSE(contains(part.errors, "not of grid"));
  CHECK(place.count("SELECT count(*) FROM run") == "1");
  CHECK(place.count("SELECT count(*) FROM grid_run WHERE grid = 's'") == "4");
  const ProgramResult one = place.program({"table", file});
  CHECK(contains(one.output, "3 of 4 runs that " + file +
                                 " stands for are missing: weights=dense seed 1, 2 (never run); "
                                 "weights=rigl seed 2 (never run)."));

  REQUIRE(place.program({"grid", "run", file}).exit_code == 0);
  REQUIRE(place.program({"grid", "run", file, "--seed=1", "--weights=rigl"}).exit_code == 0);
  const std::string whole = place.program({"table", file}).output;
  CHECK(contains(whole, "| dense |"));
  CHECK(contains(whole, "n = 2."));
  CHECK_FALSE(contains(whole, "missing"));

  // Outside of the axes: stored, but not of the grid.
  const ProgramResult outside = place.program({"grid", "run", file, "--weights=set", "--seed=1"});
  REQUIRE(outside.exit_code == 0);
  CHECK(contains(outside.errors, "1 of 1 runs are not of grid s"));
  CHECK(contains(outside.errors, "weights = set"));
  CHECK(place.count("SELECT count(*) FROM run") == "5");
  CHECK(place.count("SELECT count(*) FROM grid_run WHERE grid = 's'") == "4");
  CHECK(place.program({"table", file}).output == whole);

  // A namesake that shares nothing is refused; one that shares runs has tables of its own.
  const std::string namesake =
      place.write("t.ini", "name = s\nweights = static\nseed = 1\n" + rest);
  for (const char* action : {"plan", "run"}) {
    const ProgramResult refused = place.program({"grid", action, namesake});
    CHECK(refused.exit_code == kExitConfig);
    CHECK(contains(refused.errors, "'s' is that of " + file));
  }
  const std::string sharing =
      place.write("u.ini", "name = s\nweights = set, rigl\nseed = 1\n" + rest);
  REQUIRE(place.program({"grid", "run", sharing}).exit_code == 0);
  CHECK(place.program({"table", file}).output == whole);
  CHECK(contains(place.program({"table", sharing}).output, "| set |"));
  CHECK_FALSE(contains(place.program({"table", sharing}).output, "| dense |"));

  // An edit: the old runs are no longer the file's.
  place.write("s.ini", "name = s\nlr = 0.02\nweights = dense, rigl\nseed = 1..2\n" + rest);
  const ProgramResult edited = place.program({"table", file});
  CHECK(edited.exit_code == kExitConfig);
  CHECK(contains(edited.errors, "4 of 4 runs"));
  CHECK(place.program({"plot", file, "curve", "--out", place.folder / "c.svg"}).exit_code ==
        kExitConfig);

  const auto refusal = [&](std::vector<std::string> words, const std::string& says) {
    const ProgramResult result = place.program(words);
    CAPTURE(words, result.errors, says);
    CHECK(result.exit_code == kExitConfig);
    CHECK(contains(result.errors, says));
  };
  refusal({"plot", "s", "trials"}, "grid s has no tuning trials");
  refusal({"plot", file, "trials"}, "no [tune] section");
  refusal({"plot", "nosuch", "trials"}, "unknown grid 'nosuch'");
  refusal({"query", "runs", "nogrid"}, "unknown grid 'nogrid'");
  refusal({"query", "SELECT nope FROM v_run"}, "no such column: nope");
  refusal({"why", "ffffffffffffff"}, "no run's id begins with");
  refusal({"table", file, "--weights", "rigl"}, "selects nothing here");
  CHECK(place.program({"query", "SELECT '.5' AS a", "--format=json"}).output ==
        "[\n  {\"a\":\".5\"}\n]\n");
}

TEST_CASE("what can't be right is refused by plan and run, before the first step", "[cli]") {
  const Place place;
  const std::string head = "weights = dense, rigl\nseed = 1..2\n", rest = kRest;
  const std::string tuned = "[tune]\nlr = 0.1, 0.2\n";
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"validation = 0\n" + head + rest + tuned, "validation = 0 leaves none"},
      {head + rest + "[table b]\nrows = weigths\ncolumns = accuracy\n", "weights"},
      {head + rest + "[table b]\nrows = weights\ncolumns = accurcy\n", "accurcy"},
      {head + rest + "[table b]\ncolumns = accuracy\nwhere = weights=set\n", "weights=set"},
      {head + rest + "[table b]\ncontrast.a = accuracy of weights=set vs weights=rigl\n",
       "contrast a"},
      {head + rest + "[table b]\nrow = weights\n", "did you mean rows"},
      {"", "is empty"},
      {head + "[when weights=set]\nlr = 1\n" + rest, "matches no run"}};
  for (const auto& [text, says] : wrong) {
    const std::string file = place.write("w.ini", text);
    for (const char* action : {"plan", "run"}) {
      const ProgramResult result = place.program({"grid", action, file});
      CAPTURE(text, action, result.errors);
      CHECK(result.exit_code == kExitConfig);
      CHECK(contains(result.errors, says));
    }
  }
  CHECK_FALSE(std::filesystem::exists(place.db));
  // The command line may mend what the file lacks, or take it away.
  const std::string file = place.write("w.ini", wrong.front().first);
  CHECK(place.program({"grid", "plan", file, "--validation=0.1"}).exit_code == 0);
  const std::string good = place.write("g.ini", head + rest + tuned);
  CHECK(place.program({"grid", "plan", good, "--validation=0"}).exit_code == kExitConfig);
}

}  // namespace tandem::test::app_grid_parts_cli
