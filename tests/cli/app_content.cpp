// Runs on other data are other runs: what is reused, what is resumed, what is refused, and what is
// found on a machine that lacks the files. State on disk belongs to its database.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "store/store.h"
#include "support/run_program.h"
#include "unit/data_files.h"

namespace tandem::test::app_content_cli {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::Matches;

struct TwoFolders {
  TemporaryFolder folder;
  std::string a = folder / "a", b = folder / "b", db = folder / "r/runs.sqlite";
  TwoFolders() {
    test::write_image_set(a, 200, 40, 1);
    test::write_image_set(b, 200, 40, 7);
  }

  ProgramResult call(std::vector<std::string> words) const {
    // The folders of this test alone: not those of whoever runs it.
    return run_program(words, {"TANDEM_CACHE=" + (folder / "cache"), "TANDEM_DATA="});
  }
  ProgramResult run(const std::string& data, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {
        "run",        "--data=mnist", "--data-dir",   data,         "--db",     db,
        "--widths=8", "--batch=20",   "--device=cpu", "--steps=20", "--jobs=1", "--curve=false"};
    words.insert(words.end(), more.begin(), more.end());
    return call(words);
  }
  std::string ask(const std::string& sql) const {
    std::string text;
    for (const auto& row : StoreReader(db).query(sql).rows) {
      for (const auto& field : row) text += field + " ";
    }
    return text;
  }
};

constexpr const char* kGrid = R"(name = content
data = mnist
weights = dense, static
seed = 1
density = 0.5
widths = 8
batch = 20
steps = 5
curve = false
device = cpu
[table accuracy]
rows = weights
columns = accuracy@own
)";

}  // namespace

TEST_CASE("a run on other data is another run", "[cli]") {
  const TwoFolders two;
  const ProgramResult first = two.run(two.a);
  INFO(first.errors);
  REQUIRE(first.exit_code == 0);
  CHECK(two.run(two.b).exit_code == 0);
  CHECK(two.ask("SELECT count(*), count(DISTINCT data_hash) FROM v_run WHERE state = 'done'") ==
        "2 2 ");
  CHECK(two.run(two.a).output == first.output);
  CHECK(two.ask("SELECT max(attempt) FROM run") == "1 ");

  test::write_image_set(two.a, 200, 40, 9);  // written anew in place
  CHECK(two.run(two.a).exit_code == 0);
  CHECK(two.ask("SELECT count(*), count(DISTINCT data_hash) FROM v_run") == "3 3 ");

  const std::string run = two.ask("SELECT id FROM run LIMIT 1").substr(0, 12);
  const std::string hash = two.ask("SELECT data_hash FROM v_run LIMIT 1");
  CHECK_THAT(two.call({"why", run, "--db", two.db}).output,
             Contains("content of the data: " + hash.substr(0, 64)));
}

TEST_CASE("a run that was stopped on one data set doesn't go on with another", "[cli]") {
  const TwoFolders two;
  CHECK(two.run(two.a, {"--stop-after-steps=10"}).exit_code == kExitStopped);
  CHECK(two.run(two.b).exit_code == 0);
  CHECK(two.ask("SELECT state, attempt FROM run ORDER BY key") == "stopped 1 done 1 ");
  CHECK(two.run(two.a).exit_code == 0);
  CHECK(two.ask("SELECT state, step, attempt FROM run ORDER BY key") == "done 20 2 done 20 1 ");
}

TEST_CASE("files that are named are read or refused before anything is noted", "[cli]") {
  const TwoFolders two;
  std::filesystem::create_directories(two.folder / "empty");
  for (const char* name : {"/empty", "/absent"}) {
    const std::string folder = two.folder.path() + name;
    const ProgramResult refused =
        two.call({"run", "--data=fashion_mnist", "--data-dir", folder, "--db", two.db});
    CHECK(refused.exit_code == kExitData);
    CHECK_THAT(refused.errors, Contains(folder));
  }
  CHECK_FALSE(std::filesystem::exists(two.db));
  const ProgramResult other = two.run(two.a, {"--data-hash", std::string(64, '0')});
  CHECK(other.exit_code == kExitData);
  CHECK_THAT(other.errors, Contains(std::string(64, '0')));
}

TEST_CASE("a grid is looked at where its data aren't, and goes on with no others", "[cli]") {
  const TwoFolders two;
  const std::string file = two.folder / "content.ini";
  atomic_write(file, kGrid);
  const auto grid = [&](const char* action, const std::string& data) {
    return two.call({"grid", action, file, "--db", two.db, "--data-dir", data, "--jobs=1"});
  };
  const ProgramResult run = grid("run", two.a);
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const std::string hash = two.ask("SELECT DISTINCT data_hash FROM v_run").substr(0, 64);
  const ProgramResult refused = grid("run", two.b);
  CHECK(refused.exit_code == kExitData);
  CHECK_THAT(refused.errors, Contains(hash) && Contains("grid content was begun"));
  CHECK(two.ask("SELECT count(*) FROM run") == "2 ");

  std::filesystem::remove_all(two.a);
  for (const std::string& data : {two.a, std::string()}) {
    CHECK_THAT(grid("plan", data).output, Contains("2 runs, 2 finished, 0 to do"));
    CHECK_THAT(grid("status", data).output, Matches("[^]*static +full +finetune +1 +1 +0[^]*"));
  }
  const ProgramResult table = two.call({"table", file, "--db", two.db});
  CHECK(table.exit_code == 0);
  CHECK_THAT(table.output, Contains("static"));
}

TEST_CASE("a grid is shown as it was stored where the files are others, and says so", "[cli]") {
  const TwoFolders two;
  const std::string file = two.folder / "content.ini";
  atomic_write(file, kGrid);
  const auto call = [&](std::vector<std::string> words, const std::string& data) {
    words.insert(words.end(), {"--db", two.db});
    // As on a machine of its own: its MNIST lies in TANDEM_DATA.
    const std::string places = two.folder / "places";
    std::filesystem::remove_all(places);
    std::filesystem::create_directories(places);
    std::filesystem::create_directory_symlink(data, places + "/mnist");
    return run_program(words, {"TANDEM_CACHE=" + (two.folder / "cache"), "TANDEM_DATA=" + places});
  };
  const ProgramResult run = call({"grid", "run", file, "--jobs=1"}, two.a);
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const ProgramResult shown = call({"table", file}, two.a);
  REQUIRE(shown.exit_code == 0);
  const std::string stored = two.ask("SELECT DISTINCT data_hash FROM v_run").substr(0, 64);
  const auto count = [](const std::string& text, const std::string& part) {
    int found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  };

  const ProgramResult status = call({"grid", "status", file, "--seed=1"}, two.b);
  INFO(status.errors);
  CHECK_THAT(status.output, Matches("[^]*static +full +finetune +1 +1 +0[^]*"));
  CHECK(count(status.errors, "on the content " + stored) == 1);
  CHECK_THAT(status.errors, Contains("what is stored is shown"));
  const ProgramResult table = call({"table", file}, two.b);
  CHECK(table.output == shown.output);
  CHECK(count(table.errors, "on the content " + stored) == 1);
  CHECK(call({"grid", "status", file}, two.a).errors.empty());

  const ProgramResult plan = call({"grid", "plan", file}, two.b);
  CHECK(plan.exit_code == 0);
  CHECK_THAT(plan.output, Contains("2 runs, 0 finished, 2 to do"));
  CHECK_THAT(plan.errors, Matches("[^]*content " + stored + "[^]*now have [0-9a-f]{64}[^]*"));
  CHECK_THAT(plan.errors, Contains("runs on these would be new ones"));
  const ProgramResult refused = call({"grid", "run", file}, two.b);
  CHECK(refused.exit_code == kExitData);
  CHECK_THAT(refused.errors, Matches("[^]*content " + stored + "[^]*now have [0-9a-f]{64}[^]*"));
  CHECK_THAT(refused.errors, Contains("runs on these would be new ones"));
}

TEST_CASE("two databases of one folder keep their own weights", "[cli]") {
  TwoFolders two;
  REQUIRE(two.run(two.a).exit_code == 0);
  const std::string run = two.ask("SELECT id FROM run").substr(0, 64), first = two.db;
  two.db = two.folder / "r/other.sqlite";
  const auto exported = [&](const std::string& db) {
    return two.call({"export", run, "--db", db, "--out", two.folder / "w.safetensors"}).exit_code;
  };
  REQUIRE(two.run(two.a).exit_code == 0);
  CHECK(exported(first) == 0);
  std::filesystem::remove_all(two.folder / "r/checkpoints/other.sqlite");
  CHECK(exported(first) == 0);
  CHECK(exported(two.db) == kExitStore);
  std::filesystem::create_directories(two.folder / "r/checkpoints/final");
  std::filesystem::rename(two.folder / "r/checkpoints/runs.sqlite/final/" + run,
                          two.folder / "r/checkpoints/final/" + run);
  CHECK(exported(first) == 0);
}

TEST_CASE("a run keeps the storage of its first plan, whatever another timing says", "[cli]") {
  const TwoFolders two;
  const auto run = [&](const std::string& cache, const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        "run",          "--data=mnist", "--data-dir",       two.a,           "--db",
        two.db,         "--batch=20",   "--weights=static", "--density=0.1", "--widths=128,128",
        "--device=cpu", "--steps=20",   "--jobs=1",         "--curve=false"};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words, {"TANDEM_CACHE=" + (two.folder / cache)}).exit_code;
  };
  REQUIRE(run("measured", {"--seed=9"}) == 0);
  const auto measured = nlohmann::json::parse(read_file(two.folder / "measured/break_even.json"));
  for (const auto& [cache, density] : {std::pair("always", 1.0), std::pair("never", 0.0)}) {
    auto told = measured;
    for (auto& shapes : told["machines"]) {
      for (auto& each : shapes) each = density;
    }
    ensure_folder(two.folder / cache);
    atomic_write(two.folder / cache + "/break_even.json", told.dump());
  }
  CHECK(run("always", {"--seed=1", "--stop-after-steps=10"}) == kExitStopped);
  std::filesystem::remove_all(two.folder / "r/checkpoints");  // so that it begins anew
  CHECK(run("never", {"--seed=1"}) == 0);
  CHECK(run("never", {"--seed=2"}) == 0);
  const std::string kept = two.ask("SELECT storage FROM run WHERE seed = 1");
  CHECK_THAT(kept, Contains("sparse"));
  CHECK(two.ask("SELECT layer_storage FROM v_run WHERE seed = 1") == kept);
  CHECK(two.ask("SELECT attempt FROM run WHERE seed = 1") == "2 ");
  CHECK(two.ask("SELECT instr(storage, 'sparse') FROM run WHERE seed = 2") == "0 ");
  const ProgramResult table =
      two.call({"table", "--rows=weights", "--columns=accuracy@sparse", "--db", two.db});
  CHECK_THAT(table.output, Contains("stored in several ways"));
}

}  // namespace tandem::test::app_content_cli
