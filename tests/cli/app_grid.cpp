// A tiny grid from its file to a table, and from a number back to its runs; then once more, which
// must do nothing; stopped by a signal and resumed; exported.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_grid_cli {
namespace {

constexpr const char* kGrid = R"(name = tiny
weights = dense, rigl
seed = 1..2
density = 0.2
train_examples = 512
batch = 64
steps = {}
eval_every = 1
widths = 32
device = cpu
[table accuracy]
rows = weights
columns = accuracy@sparse, loss@sparse
)";

struct TinyGrid {
  TemporaryFolder folder;
  std::string file = folder / "tiny.grid", db = folder / "r/tiny.sqlite";
  explicit TinyGrid(int steps) { atomic_write(file, fmt::format(kGrid, steps)); }

  ProgramResult grid(const std::string& action, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"grid", action, file, "--db", db};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  std::string count(const std::string& sql) const { return StoreReader(db).query(sql).rows[0][0]; }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a grid runs, makes a table, explains it, and is done", "[cli]") {
  const TinyGrid tiny(16);
  const ProgramResult plan = tiny.grid("plan");
  INFO(plan.errors);
  REQUIRE(plan.exit_code == 0);
  CHECK(contains(plan.output, "4 runs, 0 finished, 4 to do"));
  CHECK_FALSE(std::filesystem::exists(tiny.db));

  const ProgramResult run = tiny.grid("run", {"--jobs", "2"});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.output, "4 done now"));
  CHECK(tiny.count("SELECT count(*) FROM run WHERE state = 'done'") == "4");
  CHECK(
      tiny.count("SELECT count(*) FROM run r WHERE NOT EXISTS (SELECT 1 FROM eval e WHERE e.run = "
                 "r.key)") == "0");

  const std::string rows = tiny.count("SELECT count(*) FROM eval");
  const ProgramResult again = tiny.grid("run");
  CHECK(again.exit_code == 0);
  CHECK(contains(again.output, "4 were finished before, 0 done now"));
  CHECK(tiny.count("SELECT count(*) FROM eval") == rows);
  CHECK(tiny.count("SELECT max(attempt) FROM run") == "1");

  CHECK(contains(tiny.grid("status").output, "rigl"));
  const std::string table = tiny.folder / "t/accuracy.md";
  const ProgramResult made = run_program({"table", tiny.file, "--db", tiny.db, "--out", table});
  INFO(made.errors);
  REQUIRE(made.exit_code == 0);
  CHECK(contains(read_file(table), "rigl"));
  const ProgramResult why = run_program({"why", table, "rigl", "accuracy@sparse"});
  INFO(why.errors);
  CHECK(why.exit_code == 0);
  const std::string id = tiny.count("SELECT id FROM run WHERE weights = 'rigl' AND seed = 1");
  CHECK(contains(why.output, id.substr(0, 12)));
  CHECK(contains(run_program({"why", id.substr(0, 10), "--db", tiny.db}).output, "rigl"));

  // Several tables of one file go to files of their own.
  const std::string two = tiny.folder / "two.grid", both = tiny.folder / "t/both";
  atomic_write(two, read_file(tiny.file) + "[table loss]\nrows = weights\ncolumns = loss@full\n");
  REQUIRE(run_program({"table", two, "--db", tiny.db, "--out", both}).exit_code == 0);
  CHECK(read_file(both + "_accuracy.md") == read_file(table));
  CHECK(contains(read_file(both + "_loss.csv"), "loss@full"));
  CHECK(std::filesystem::exists(both + "_loss.lineage.json"));
  REQUIRE(run_program({"table", two, "--db", tiny.db, "--out", both + ".tex"}).exit_code == 0);
  CHECK(contains(read_file(both + "_loss.tex"), "toprule"));
  // And are what their runs make, from the database or from the runs that are shared beside them.
  const std::string written = tiny.folder / "t";
  CHECK(run_program({"verify", written, "--db", tiny.db}).exit_code == 0);
  CHECK(run_program({"verify", written}).exit_code == kExitDiffers);
  REQUIRE(run_program(
              {"db", "share", "--grid", "tiny", "--out", written + "/runs.sql.xz", "--db", tiny.db})
              .exit_code == 0);
  const ProgramResult verified = run_program({"verify", written});
  INFO(verified.output);
  CHECK(verified.exit_code == 0);
  CHECK(contains(verified.output, "5 of 5 tables are what their runs make"));
  const ProgramResult diff =
      run_program({"diff", "tiny", written + "/runs.sql.xz:tiny", "--db", tiny.db});
  INFO(diff.errors);
  REQUIRE(diff.exit_code == 0);
  CHECK(contains(diff.output, "2 settings are in both: of accuracy@own 0 differ, 2 are equal"));
  CHECK(run_program({"diff", "tiny", "tinny", "--db", tiny.db}).exit_code == kExitConfig);
  atomic_write(both + "_loss.csv", "weights\n");
  CHECK(run_program({"verify", written}).exit_code == kExitDiffers);
  CHECK(run_program({"verify", tiny.folder / "nowhere"}).exit_code == kExitConfig);
  const ProgramResult device = run_program({"table", two, "--db", tiny.db, "--out", "/dev/stdout"});
  CHECK(device.exit_code == kExitConfig);
  CHECK(contains(device.errors, "--table NAME"));

  const ProgramResult query =
      run_program({"query", "SELECT count(*) AS n FROM v_run", "--db", tiny.db, "--format", "csv"});
  CHECK(query.output == "n\n4\n");
  const ProgramResult tail = run_program({"tail", id.substr(0, 10), "--once", "--db", tiny.db});
  CHECK(tail.exit_code == 0);
  CHECK(contains(tail.output, "accuracy"));
  CHECK(contains(tail.output, "done"));
}

TEST_CASE("a plan tells how connections are stored, or why they can't be", "[cli]") {
  const TinyGrid tiny(16);
  const ProgramResult plan = tiny.grid("plan", {"--storage", "sparse", "--weights", "rigl"});
  INFO(plan.errors);
  REQUIRE(plan.exit_code == 0);
  CHECK(contains(plan.output, "storage of rigl at density 0.2: sparse,sparse\n"));
  CHECK_FALSE(contains(tiny.grid("plan", {"--storage", "masked"}).output, "storage of"));
  const ProgramResult refused = tiny.grid("plan", {"--storage", "sparse"});
  CHECK(refused.exit_code == kExitConfig);
  CHECK(contains(refused.errors, "weights = dense"));
  CHECK(contains(refused.errors, "--storage masked"));

  const ProgramResult run =
      tiny.grid("run", {"--storage", "sparse", "--weights", "rigl", "--seed", "1"});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(tiny.count("SELECT layer_storage FROM v_run") == "sparse,sparse");
  const std::string id = tiny.count("SELECT id FROM run");
  CHECK(contains(run_program({"why", id.substr(0, 10), "--db", tiny.db}).output, "sparse,sparse"));
}

TEST_CASE("a run prints where it is, and its weights can be exported", "[cli]") {
  const TemporaryFolder folder;
  const std::string db = folder / "one.sqlite";
  const ProgramResult run = run_program({"run", "--weights", "set", "--density", "0.1",
                                         "--train-examples", "512", "--steps", "8", "--batch", "64",
                                         "--widths", "32", "--device", "cpu", "--db", db});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.output, db));
  const std::string id = StoreReader(db).runs().at(0).id;
  CHECK(contains(run.output, id));

  for (const std::string read_out : {"full", "sparse"}) {
    const std::string out = folder / (read_out + ".safetensors");
    const ProgramResult made =
        run_program({"export", id.substr(0, 8), "--read-out", read_out, "--out", out, "--db", db});
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
    const SafetensorsFile file = SafetensorsFile::open(out);
    CHECK(file.metadata().at("run") == id);
    std::int64_t nonzero = 0, all = 0;
    for (const auto& tensor : file.tensors()) {
      if (tensor.name.ends_with(".mask")) continue;
      REQUIRE(tensor.dtype == DType::kF32);
      if (tensor.shape.size() < 2) continue;
      const auto* values = static_cast<const float*>(tensor.data);
      for (std::int64_t i = 0; i < tensor.elements(); ++i) nonzero += values[i] != 0;
      all += tensor.elements();
    }
    CHECK(nonzero > 0);
    CHECK(nonzero < all / 4);
  }
}

TEST_CASE("exports hold the run's own net: no superset, no teacher", "[cli]") {
  for (const std::string method : {"topkast", "rigl_teacher"}) {
    CAPTURE(method);
    const TemporaryFolder folder;
    const std::string db = folder / "one.sqlite", out = folder / "out.safetensors";
    const ProgramResult run = run_program({"run", "--weights", method, "--density", "0.1",
                                           "--train-examples", "512", "--steps", "12", "--batch",
                                           "64", "--widths", "32", "--device", "cpu", "--db", db});
    INFO(run.errors);
    REQUIRE(run.exit_code == 0);
    const std::string id = StoreReader(db).runs().at(0).id;
    const ProgramResult made =
        run_program({"export", id, "--read-out", "sparse", "--out", out, "--db", db});
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
    const SafetensorsFile file = SafetensorsFile::open(out);
    REQUIRE(file.tensors().size() == 6);  // two layers, each with its mask
    std::int64_t nonzero = 0, all = 0;
    for (const auto& tensor : file.tensors()) {
      if (tensor.shape.size() < 2 || tensor.name.ends_with(".mask")) continue;
      const auto* values = static_cast<const float*>(tensor.data);
      for (std::int64_t i = 0; i < tensor.elements(); ++i) nonzero += values[i] != 0;
      all += tensor.elements();
    }
    CHECK(nonzero > 0);
    CHECK(nonzero < all / 8);
  }
}

TEST_CASE("an interrupted grid exits 75 and resumes to the same end", "[cli]") {
  const TinyGrid tiny(20000);
  const TemporaryFolder output;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) {
    RunningProgram running(output.path(),
                           {"grid", "run", tiny.file, "--db", tiny.db, "--jobs", "2"});
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      if (running.ended()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (!std::filesystem::exists(tiny.db)) continue;
      try {
        if (tiny.count("SELECT count(*) FROM run WHERE state = 'running'") == "4") break;
      } catch (const StoreError&) {
        continue;
      }
    }
    running.send(signal);
    const ProgramResult result = running.wait();
    INFO("signal " << signal << ": " << result.errors);
    REQUIRE(result.exit_code == 75);
    CHECK(tiny.count("SELECT count(*) FROM run WHERE state = 'stopped'") == "4");
    CHECK(contains(tiny.grid("plan").output, "resumed"));
  }
}

TEST_CASE("a group stopped after some steps goes on from there", "[cli]") {
  const TinyGrid whole(24), parts(24);
  REQUIRE(whole.grid("run").exit_code == 0);
  int stops = 0;
  while (stops < 20 && parts.grid("run", {"--stop-after-steps", "7"}).exit_code == 75) ++stops;
  CHECK(stops >= 3);
  const char* sql =
      "SELECT group_concat(line, char(10)) FROM (SELECT r.id || e.sequence || ' ' || e.step || ' ' "
      "|| "
      "e.n_correct || ' ' || printf('%.17g', e.loss) AS line FROM eval e JOIN run r ON r.key = "
      "e.run "
      "ORDER BY r.id, e.sequence)";
  CHECK(parts.count(sql) == whole.count(sql));
}

}  // namespace tandem::test::app_grid_cli
