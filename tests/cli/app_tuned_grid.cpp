// A tiny tuned grid through the real program: rounds of trials, the choice, final runs, its table
// and figures; stopped again and again, it chooses the same.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "store/store.h"
#include "support/run_program.h"
#include "support/skip.h"

namespace tandem::test::app_tuned_grid_cli {
namespace {

constexpr const char* kGrid = R"(name = tuned
weights = dense, ssa
seed = 1..2
density = 0.2
train_examples = 512
batch = 64
steps = 8
widths = 24
topology_log_steps = 9
device = cpu
[when weights=dense]
tuned_for = full, sparse
[when weights=ssa]
match = train_flops
[tune]
trials = 3
lr = 0.02 .. 0.5
weight_decay = 1e-4 .. 1e-2
[tune weights=ssa]
weights_alpha = 1 .. 30
[table accuracy]
rows = weights, tuned_for
columns = accuracy@sparse, steps_done
)";

struct TunedGrid {
  TemporaryFolder folder;
  std::string file = folder / "tuned.ini", db = folder / "r.sqlite";
  TunedGrid() { atomic_write(file, kGrid); }

  ProgramResult program(std::vector<std::string> words,
                        const std::vector<std::string>& environment = {}) const {
    words.insert(words.end(), {"--db", db});
    return run_program(words, environment);
  }
  std::string one(const std::string& sql) const { return StoreReader(db).query(sql).rows[0][0]; }
};

int count_of(const std::string& text, const std::string& part) {
  int found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

// One case, since each start of a worker costs a second.
TEST_CASE("a tuned grid is stopped, goes on, chooses, and shows why", "[cli]") {
  const TunedGrid grid;
  const ProgramResult plan = grid.program({"grid", "plan", grid.file});
  INFO(plan.errors);
  REQUIRE(plan.exit_code == 0);
  CHECK(contains(plan.output, "6 runs, 0 finished"));
  CHECK(grid.program({"grid", "run", grid.file, "--stop-after-steps", "5"}).exit_code == 75);
  const ProgramResult run = grid.program({"grid", "run", grid.file, "--jobs", "2"});
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.output, "grid tuned/tuning: "));
  CHECK(contains(run.output, "best rival"));
  CHECK(contains(run.output, "grid tuned: 6 runs: 0 were finished before, 6 done now"));
  // Rounds of trials and the final runs are warned of once.
  CHECK(count_of(run.output, "grid tuned/tuning: ") > 1);
  CHECK(count_of(run.errors, "--topology-log-steps 9 parts updates") == 1);
  CHECK(count_of(run.errors, "--topology-log-steps 9 is more than") == 1);
  const ProgramResult again = grid.program({"grid", "run", grid.file});
  CHECK(contains(again.output, "6 were finished before, 0 done now"));

  CHECK(grid.one("SELECT count(DISTINCT method) FROM tuning WHERE chosen") == "3");
  CHECK(grid.one("SELECT count(*) FROM tuned_run") == "6");
  CHECK(grid.one("SELECT count(*) FROM v_eval WHERE split = 'test' AND final = 0") == "0");
  CHECK(grid.one("SELECT count(*) FROM tuning t WHERE chosen AND score = (SELECT max(score) FROM "
                 "tuning o WHERE o.method = t.method)") == "3");
  // What was chosen is what the final runs have.
  CHECK(grid.one("SELECT count(*) FROM tuned_run u JOIN tuning t ON t.grid = u.grid AND t.method = "
                 "u.method AND t.chosen JOIN v_run r ON r.run = u.run_id JOIN v_run trial ON "
                 "trial.run = t.run_id WHERE r.lr = trial.lr AND r.weight_decay = "
                 "trial.weight_decay") == "6");
  // The score is accuracy in the read-out that the cell is tuned for.
  CHECK(grid.one("SELECT count(*) FROM tuning t JOIN v_eval e ON e.run = t.run_id AND e.split = "
                 "'validation' AND e.weights_readout = t.readout AND e.stage = 1 AND "
                 "abs(e.accuracy - t.score) < 1e-12 WHERE t.readout != 'own' AND "
                 "coalesce(e.weights_budget, e.density) = e.density") ==
        grid.one("SELECT count(*) FROM tuning WHERE readout != 'own'"));
  CHECK(grid.one("SELECT max(steps_done) FROM v_run WHERE match = 'train_flops'") < "8");

  const std::string table = grid.folder / "t.md";
  REQUIRE(grid.program({"table", grid.file, "--out", table}).exit_code == 0);
  CHECK(contains(read_file(table), "Tuned per weights, tuned_for: 3 log-uniform trials"));
  CHECK(contains(read_file(table + ".lineage.json"), "\"tuning\""));
  const ProgramResult why = run_program({"why", table, "ssa,own", "accuracy@sparse"});
  INFO(why.errors);
  CHECK(contains(why.output, "tuned in grid tuned for "));
  CHECK(contains(why.output, "weights_alpha="));

  const std::string figure = grid.folder / "f/trials.svg", csv = grid.folder / "f/trials.csv";
  const ProgramResult bare =
      grid.program({"plot", "tuned", "trials", "--out", figure}, {"PATH=/nonexistent"});
  CHECK(bare.exit_code == kExitConfig);
  CHECK(contains(bare.errors, "gnuplot-nox"));
  CHECK_FALSE(std::filesystem::exists(csv));  // nothing is written where something can't be
  CHECK_FALSE(std::filesystem::exists(figure));
  REQUIRE(
      grid.program({"plot", "tuned", "trials", "--out", csv}, {"PATH=/nonexistent"}).exit_code ==
      0);
  CHECK(contains(read_file(csv), "kept_mass"));
  CHECK(grid.program({"plot", grid.file, "trial"}).exit_code == kExitConfig);
  CHECK(grid.program({"plot", grid.file, "trials", "--out", "x.pdf"}).exit_code == kExitConfig);
  if (::access("/usr/bin/gnuplot", X_OK) != 0) return test::skip("gnuplot is not installed");
  for (const std::string out : {"trials.svg", "curve.png"}) {
    const std::string kind = out.substr(0, out.find('.'));
    const ProgramResult drawn = grid.program({"plot", grid.file, kind, "--out", grid.folder / out});
    INFO(drawn.errors);
    REQUIRE(drawn.exit_code == 0);
    const std::string head = read_file(grid.folder / out).substr(0, 300);
    CHECK(contains(head, kind == "trials" ? "<svg" : "PNG"));
    CHECK(std::filesystem::exists(grid.folder / (kind + ".csv")));
  }
}

TEST_CASE("a read-out to tune for is said to change nothing where nothing is tuned", "[cli]") {
  const TemporaryFolder folder;
  atomic_write(folder / "g.ini", "weights = ssa\ntuned_for = full, sparse\ndevice = cpu\n");
  const ProgramResult plan =
      run_program({"grid", "plan", folder / "g.ini", "--db", folder / "r.sqlite"});
  INFO(plan.errors);
  CHECK(plan.exit_code == 0);
  CHECK(contains(plan.errors, "2 of 2 runs: tuned_for is read by [tune] sections alone"));
}

TEST_CASE("an axis of probes, where a list was meant, is told", "[cli]") {
  const TemporaryFolder folder;
  const auto errors = [&](const std::string& probes) {
    atomic_write(folder / "g.ini", "seed = 1..2\ndevice = cpu\nprobes = " + probes + "\n");
    const ProgramResult plan =
        run_program({"grid", "plan", folder / "g.ini", "--db", folder / "r.sqlite"});
    CHECK(plan.exit_code == 0);
    return plan.errors;
  };
  CHECK(contains(errors("default, lineage"),
                 "one run with all of them is probes = {default,lineage}"));
  CHECK_FALSE(contains(errors("{default,lineage}"), "one run with all of them"));
  // Runs that differ in more are each their own.
  CHECK_FALSE(contains(errors("default\n[when seed=2]\nprobes = all"), "one run with all of them"));
}

}  // namespace tandem::test::app_tuned_grid_cli
