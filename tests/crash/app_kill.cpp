// Kills of the writer and of workers at random moments: the grid run again ends with the same rows
// as one that nobody disturbed, nothing lost and nothing twice (times aside).
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "jobs/planner.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_kill_crash {
namespace {

constexpr const char* kGrid = R"(name = storm
weights = rigl, ssa
seed = 1..2
density = 0.2
train_examples = 512
batch = 32
steps = 1000
update_interval = 25
eval_every = 2
probe_every = 50
widths = 32
device = cpu
checkpoint_every_s = 0.05
)";

const char* const kQueries[] = {
    "SELECT r.id, e.sequence, e.stage, e.step, e.task, o.identity, e.split, e.n_correct, "
    "e.n_total, "
    "printf('%.17g', e.loss), hex(b.bits) FROM eval e JOIN run r ON r.key = e.run JOIN readout o "
    "ON "
    "o.key = e.readout LEFT JOIN eval_bits b ON b.run = e.run AND b.sequence = e.sequence ORDER BY "
    "1, 2",
    "SELECT r.id, o.identity, p.split, p.stage, p.step, p.n_correct, p.n_total, "
    "printf('%.12g', p.loss_sum) FROM result p JOIN run r ON r.key = p.run JOIN readout o ON o.key "
    "= "
    "p.readout ORDER BY 1, 2, 3",
    "SELECT r.id, m.sequence, m.step, l.name, n.name, CASE WHEN n.name LIKE 'probe_%' THEN '' ELSE "
    "printf('%.17g', m.value) END FROM metric m JOIN run r ON r.key = m.run JOIN layer_name l ON "
    "l.key "
    "= m.layer JOIN metric_name n ON n.key = m.name ORDER BY 1, 2",
    "SELECT r.id, t.sequence, t.step, l.name, t.nnz, t.dropped, t.grown, t.mask_hash FROM "
    "topology_update t JOIN run r ON r.key = t.run JOIN layer_name l ON l.key = t.layer ORDER BY "
    "1, 2",
    "SELECT r.id, d.sequence, d.step, l.name, hex(d.digests) FROM digest d JOIN run r ON r.key = "
    "d.run JOIN tensor_list l ON l.key = d.tensors ORDER BY 1, 2",
    "SELECT id, state, step, last_sequence, train_flops, inference_flops FROM run ORDER BY 1"};

struct Storm {
  TemporaryFolder folder;
  std::string file = folder / "storm.grid", db = folder / "r/storm.sqlite";
  Storm() { atomic_write(file, kGrid); }
  std::vector<std::string> arguments() const {
    return {"grid", "run", file, "--db", db, "--jobs", "2"};
  }
  std::vector<QueryResult> rows() const {
    const StoreReader reader(db);
    std::vector<QueryResult> all;
    for (const char* query : kQueries) all.push_back(reader.query(query));
    return all;
  }
};

void expect_equal(const std::vector<QueryResult>& a, const std::vector<QueryResult>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t q = 0; q < a.size(); ++q) {
    INFO(kQueries[q]);
    REQUIRE(a[q].rows.size() > 0);
    REQUIRE(a[q].rows.size() == b[q].rows.size());
    for (std::size_t i = 0; i < a[q].rows.size(); ++i) {
      INFO("row " << i);
      REQUIRE(a[q].rows[i] == b[q].rows[i]);
    }
  }
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::string stat;
    try {
      stat = read_file(entry.path().string() + "/stat");
    } catch (const DataError&) {
      continue;
    }
    int ppid = 0;
    char state = 0;
    const auto end = stat.rfind(')');
    if (end == std::string::npos) continue;
    if (std::sscanf(stat.c_str() + end + 1, " %c %d", &state, &ppid) != 2) continue;
    if (ppid == parent) children.push_back(std::stoi(name));
  }
  return children;
}

}  // namespace

TEST_CASE("kills at random moments lose nothing and double nothing", "[crash]") {
  const Storm calm;
  const ProgramResult undisturbed = run_program(calm.arguments());
  INFO(undisturbed.errors);
  REQUIRE(undisturbed.exit_code == 0);

  const Storm storm;
  const TemporaryFolder output;
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> delay_ms(50, 1600);
  int writers_killed = 0, workers_killed = 0;
  while (writers_killed < 12 || workers_killed < 5) {
    RunningProgram running(output.path(), storm.arguments());
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms(random)));
    if (running.ended()) {
      REQUIRE(running.wait().exit_code == 0);
      // All done: begin anew, so that there is something left to kill.
      expect_equal(storm.rows(), calm.rows());
      std::filesystem::remove_all(storm.folder / "r");
      continue;
    }
    const auto workers = children_of(running.pid());
    if (random() % 2 == 0 && !workers.empty()) {
      ::kill(workers[random() % workers.size()], SIGKILL);
      ++workers_killed;
      std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms(random) / 4));
    }
    running.send(SIGKILL);
    running.wait();
    ++writers_killed;
  }
  const ProgramResult last = run_program(storm.arguments());
  INFO(last.errors);
  REQUIRE(last.exit_code == 0);
  expect_equal(storm.rows(), calm.rows());
  CHECK(StoreReader(storm.db).query("PRAGMA integrity_check").rows[0][0] == "ok");
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint_root(storm.db))) {
    CHECK(entry.path().filename() == "final");
  }
}

}  // namespace tandem::test::app_kill_crash
