// What a run's state is after a stop, a kill and a failure, and how one goes on from there.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/embedded.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/schema.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_states_cli {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Whether the program has come as far as its main(): before that a signal just ends it.
bool catches_interrupts(pid_t pid) {
  const std::string status = read_file(fmt::format("/proc/{}/status", pid));
  const std::string caught = status.substr(status.find("SigCgt:") + 7, 20);
  return (std::stoull(trim(split(trim(caught), '\n')[0]), nullptr, 16) >> (SIGINT - 1) & 1) != 0;
}

struct LongRun {
  TemporaryFolder folder, output;
  std::string db = folder / "r/r.sqlite";

  std::vector<std::string> arguments(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {
        "run", "--train-examples", "512",  "--steps", "1000000", "--widths", "32", "--device",
        "cpu", "--eval-every",     "0.05", "--db",    db};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  // Until rows of training are there.
  void wait_for_rows(RunningProgram& running) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (std::chrono::steady_clock::now() < deadline && !running.ended()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (!fs::exists(db)) continue;
      try {
        if (StoreReader(db).query("SELECT 1 FROM eval WHERE step > 0").rows.size() > 3) return;
      } catch (const StoreError&) {
        continue;
      }
    }
    FAIL("no rows came");
  }
  std::string said() const { return read_file(output / "stderr.txt"); }
  RunRecord only_run() const { return StoreReader(db).runs().at(0); }
};

}  // namespace

TEST_CASE("a stopped run says after how many steps, in one line that says how to go on", "[cli]") {
  const LongRun one;
  RunningProgram running(one.output.path(), one.arguments());
  one.wait_for_rows(running);
  running.send(SIGINT);
  const ProgramResult result = running.wait();
  INFO(result.errors << result.output);
  REQUIRE(result.exit_code == kExitStopped);
  const RunRecord run = one.only_run();
  CHECK(run.state == "stopped");
  CHECK(run.step > 0);
  CHECK(contains(result.output, fmt::format("stopped after {} steps", run.step)));
  CHECK(contains(result.output, "the same command goes on"));
  CHECK(std::count(result.output.begin(), result.output.end(), '\n') == 1);
  // And it does, from there: the checkpoint is of that step.
  const ProgramResult more = run_program(one.arguments({"--stop-after-steps", "7"}));
  INFO(more.errors);
  REQUIRE(more.exit_code == kExitStopped);
  CHECK(one.only_run().step >= run.step + 7);
  CHECK(one.only_run().step < run.step + 2000);
}

TEST_CASE("a run whose program was killed is shown as interrupted, and nobody waits for it",
          "[cli]") {
  const LongRun one;
  const std::string grid = one.folder / "g.ini";
  atomic_write(grid,
               "train_examples = 512\nsteps = 1000000\nwidths = 32\ndevice = cpu\neval_every = "
               "0.05\n");
  {
    RunningProgram running(one.output.path(), one.arguments());
    one.wait_for_rows(running);
    CHECK(contains(run_program({"grid", "status", grid, "--db", one.db}).output, "running"));
    CHECK(one.only_run().state == "running");
    running.send(SIGKILL);
    running.wait();
  }
  const RunRecord run = one.only_run();
  CHECK(run.state == "interrupted");
  CHECK(run.step > 0);
  const ProgramResult tail = run_program({"tail", run.id, "--db", one.db});  // it ends
  CHECK(tail.exit_code == 0);
  CHECK(contains(tail.output, "interrupted"));
  CHECK(contains(run_program({"why", run.id, "--db", one.db}).output, "state interrupted"));
  const std::string status = run_program({"grid", "status", grid, "--db", one.db}).output;
  INFO(status);
  const auto head = split(status, '\n').at(0), row = split(status, '\n').at(2);
  CHECK(row.substr(head.find("interrupted"), 11) == "          1");
  CHECK(row.substr(head.find("running"), 7) == "      0");
  const ProgramResult more = run_program(one.arguments({"--stop-after-steps", "7"}));
  REQUIRE(more.exit_code == kExitStopped);
  CHECK(one.only_run().state == "stopped");
}

TEST_CASE("without a terminal a long run says early how long it takes", "[cli]") {
  const LongRun one;
  RunningProgram running(one.output.path(), one.arguments());
  one.wait_for_rows(running);
  // The first line, or the second on a machine so busy that the first came before any step.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  while (std::chrono::steady_clock::now() < deadline && !contains(one.said(), " of 1000000, ")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  running.send(SIGTERM);
  const ProgramResult result = running.wait();
  INFO(result.errors);
  CHECK(result.exit_code == kExitStopped);
  CHECK(contains(result.errors, "0/1 runs done, 1 group running"));
  CHECK(contains(result.errors, " of 1000000, "));
  CHECK(contains(result.errors, " left"));
}

TEST_CASE("a run that fails before it trains leaves nothing; asked for again it is tried again",
          "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "r/r.sqlite";
  const std::vector<std::string> bad = {"run",         "--data",  "kmnist", "--data-dir",
                                        folder.path(), "--steps", "1",      "--device",
                                        "cpu",         "--db",    db};
  CHECK(run_program(bad).exit_code == kExitData);
  CHECK_FALSE(fs::exists(folder / "r"));
  // Into a database that has others, it adds no row.
  const std::vector<std::string> good = {
      "run", "--train-examples", "300", "--steps", "2", "--widths",
      "16",  "--device",         "cpu", "--db",    db};
  REQUIRE(run_program(good).exit_code == 0);
  CHECK(run_program(bad).exit_code == kExitData);
  CHECK(StoreReader(db).runs().size() == 1);
  CHECK(std::distance(fs::directory_iterator(folder / "r/checkpoints"),
                      fs::directory_iterator()) == 1);  // final
}

TEST_CASE("a grid's failed runs are marked, tried again, and replaced", "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite", file = folder / "g.ini", data = folder / "missing";
  const auto grid = [&](int seed, const std::string& from) {
    atomic_write(file, fmt::format("name = g\nseed = {}\ntrain_examples = 300\nsteps = 2\nwidths = "
                                   "16\ndevice = cpu\n",
                                   seed));
    return run_program({"grid", "run", file, "--db", db, "--data-dir", from});
  };
  const auto runs = [&] { return StoreReader(db).runs(); };
  // Data that are missing are refused before there is a row; a failure of another kind leaves one.
  REQUIRE(grid(1, data).exit_code == kExitData);
  CHECK_FALSE(fs::exists(db));
  const auto fail = [&](int seed) {
    REQUIRE(grid(seed, "").exit_code == 0);
    StoreWriter writer(db);
    const RunRecord run = StoreReader(db).runs().back();
    writer.set_state(run.id, "failed", "a test says so");
    writer.insert({{run.id, 900, MetricRow{5, "", "old", 1}}});
  };
  fail(1);
  REQUIRE(runs().size() == 1);
  CHECK(runs()[0].state == "failed");
  const ProgramResult mended = grid(1, "");
  INFO(mended.errors);
  REQUIRE(mended.exit_code == 0);
  REQUIRE(runs().size() == 1);
  CHECK(runs()[0].state == "done");
  CHECK(StoreReader(db).query("SELECT 1 FROM v_metric WHERE name = 'old'").rows.empty());
  // One that no grid asks for any more goes with the next command.
  fail(2);
  CHECK(runs().size() == 2);
  REQUIRE(grid(1, "").exit_code == 0);
  CHECK(runs()[0].state == "done");
}

TEST_CASE("a run goes into a database of an earlier version", "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite";
  std::vector<EmbeddedFile> files = migration_files(embedded_sql());
  files.resize(2);
  {
    SQLite::Database earlier(db, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate(earlier, db, files);
  }
  const std::vector<std::string> words = {
      "run", "--train-examples", "300", "--steps", "2", "--widths",
      "16",  "--device",         "cpu", "--db",    db};
  const ProgramResult result = run_program(words);
  INFO(result.errors);
  CHECK(result.exit_code == 0);
  CHECK(StoreReader(db).runs().size() == 1);
}

TEST_CASE("a signal before anything was trained leaves nothing behind and says so", "[cli]") {
  const TemporaryFolder folder, output;
  const std::string db = folder / "r/r.sqlite", file = folder / "g.ini";
  atomic_write(file, "weights = rigl, set\nseed = 1..400\nmatch = train_flops\nsteps = 100000\n");
  RunningProgram running(output.path(), {"grid", "plan", file, "--db", db});
  while (!running.ended() && !catches_interrupts(running.pid())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  running.send(SIGINT);
  const ProgramResult result = running.wait();
  INFO(result.errors);
  if (result.exit_code != 0) {  // a fast machine may have ended before
    CHECK(result.exit_code == kExitStopped);
    CHECK(contains(result.errors, "the same command begins anew"));
  }
  CHECK_FALSE(fs::exists(folder / "r"));
}

}  // namespace tandem::test::app_states_cli
