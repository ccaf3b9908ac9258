// `tandem replay`: a run comes out the same; where a database was tampered with, the step and what
// differs there are named.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "config/config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "store/store.h"
#include "support/run_program.h"
#include "unit/data_files.h"

namespace tandem::test::app_replay_cli {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;

struct Replayed {
  TemporaryFolder folder;
  std::string db = folder / "r/r.sqlite", scratch = folder / "scratch";

  Replayed() {
    ensure_folder(folder / "r");
    ensure_folder(scratch);
  }

  // Whatever it makes for itself lies in the scratch folder.
  ProgramResult call(std::vector<std::string> words) const {
    words.insert(words.end(), {"--db", db});
    return run_program(words, {"TMPDIR=" + scratch});
  }
  ProgramResult replay(const std::string& run, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"replay", run});
    return call(more);
  }
  void grid(const std::string& text) const {
    const std::string file = folder / "g.ini";
    atomic_write(file, text);
    const ProgramResult result = call({"grid", "run", file, "--jobs", "1"});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
  }
  std::vector<RunRecord> runs() const { return StoreReader(db).runs(); }
  std::string ask(const std::string& sql) const {
    std::string text;
    for (const auto& row : StoreReader(db).query(sql).rows) {
      for (const auto& cell : row) text += (text.empty() ? "" : " ") + cell;
    }
    return text;
  }
  void change(const std::string& sql) const {
    SQLite::Database(db, SQLite::OPEN_READWRITE).exec(sql);
  }
};

constexpr const char* kMethods = R"(name = methods
weights = dense, set, rigl, ste, ssa
density = 0.2
train_examples = 300
batch = 32
epochs = 3
widths = 24,16
eval_every = 1
device = cpu
[when weights=set]
update_interval_epochs = 0
update_interval = 5
storage = sparse
[when weights=rigl]
update_interval = 7
)";

constexpr const char* kOne = R"(name = one
weights = rigl
density = 0.2
train_examples = 300
batch = 32
steps = 40
widths = 24,16
update_interval = 10
eval_every = 2
device = cpu
)";

}  // namespace

TEST_CASE("runs are replayed to the bit, and the database stays as it is", "[cli]") {
  const Replayed one;
  one.grid(kMethods);
  const std::string before = sha256_file(one.db);
  REQUIRE(one.runs().size() == 5);
  for (const RunRecord& run : one.runs()) {
    const ProgramResult result = one.replay(run.id.substr(0, 12));
    INFO(run.canonical << result.errors << result.output);
    CHECK(result.exit_code == kExitDone);
    CHECK_THAT(result.output,
               Contains(fmt::format("run {}: the same to the bit: ", run.id.substr(0, 12))) &&
                   Contains(" of 6 tensors, ") && Contains(" evaluations"));
    CHECK(std::count(result.output.begin(), result.output.end(), '\n') == 1);
  }
  CHECK(sha256_file(one.db) == before);
  CHECK(fs::is_empty(one.scratch));
  CHECK_FALSE(fs::exists(one.db + "-wal"));
}

TEST_CASE("the first step that differs is named, and what differs there", "[cli]") {
  const Replayed one;
  one.grid(kOne);
  const std::string run = one.runs().at(0).id;
  const std::string kept = read_file(one.db);
  const auto replayed = [&](const std::string& sql) {
    one.change(sql);
    const ProgramResult result = one.replay(run);
    INFO(sql << result.errors << result.output);
    CHECK(result.exit_code == 4);
    CHECK_THAT(result.output, Contains("nothing that is stored of where it was trained differs"));
    atomic_write(one.db, kept);
    return result.output;
  };
  // Evaluations are at steps 20 and 40, updates at 11, 21 and 31.
  const std::string tensor = one.ask("SELECT json_extract(name, '$[2]') FROM tensor_list");
  const std::string text = replayed(
      "UPDATE digest SET digests = CAST(substr(digests, 1, 16) || x'0000000000000001' || "
      "substr(digests, 25) AS BLOB) WHERE step = 20");
  CHECK_THAT(text,
             Contains("differs first at step 20\n") &&
                 Contains("tensor " + tensor + ": stored 0000000000000001, now ") &&
                 Contains("agreed before it: 1 step, up to step 11: 1 digest of 6 tensors, "));
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);
  CHECK_THAT(replayed("UPDATE topology_update SET mask_hash = 'ffffffffffffffff' WHERE step = 21 "
                      "AND layer = (SELECT key FROM layer_name WHERE name = 'layer1')"),
             Contains("differs first at step 21\n") &&
                 Contains("mask of layer layer1: stored ffffffffffffffff ("));
  CHECK_THAT(replayed("UPDATE eval SET n_correct = 0 WHERE step = 20 AND readout = (SELECT "
                      "min(readout) FROM eval)"),
             Contains("differs first at step 20\n") &&
                 Contains("evaluation (validation, stage 0, ") && Contains("stored 0 of "));
  CHECK_THAT(replayed("UPDATE eval SET loss = loss * (1 + 3e-16) WHERE step = 40"),
             Contains("differs first at step 40\n"));
  // Another place is told.
  one.change(
      "UPDATE digest SET digests = zeroblob(48) WHERE step = 40;"
      "UPDATE provenance SET json = json_set(json, '$.machine', 'an abacus')");
  CHECK_THAT(one.replay(run).output, Contains("what differs from where it was trained:\n"
                                              "  processor: an abacus, now "));
  // One from before digests.
  atomic_write(one.db, kept);
  one.change("DELETE FROM digest");
  const ProgramResult older = one.replay(run);
  CHECK(older.exit_code == 0);
  CHECK_THAT(older.output, Contains("the same to the bit: ") && !Contains(" of 6 tensors") &&
                               Contains("topology updates\n") &&
                               Contains("it has no digests of its weights"));
}

TEST_CASE("what can't be replayed is refused", "[cli]") {
  const Replayed one;
  CHECK(one.replay("12ab").exit_code == kExitStore);  // no database
  one.grid(kOne);
  const std::string run = one.runs().at(0).id;
  CHECK(one.replay("0123456789ab").exit_code == kExitConfig);
  CHECK(one.call({"replay"}).exit_code == kExitConfig);
  CHECK(one.replay(run, {"--seed", "2"}).exit_code == kExitConfig);
  one.change("UPDATE run SET state = 'stopped'");
  const ProgramResult open = one.replay(run);
  CHECK(open.exit_code == kExitConfig);
  CHECK_THAT(open.errors, Contains("is stopped: a run is replayed once it is done or diverged"));
}

TEST_CASE("a run is replayed on its own data alone", "[cli]") {
  const Replayed one;
  const std::string a = one.folder / "a", b = one.folder / "b";
  test::write_image_set(a, 200, 40, 1);
  test::write_image_set(b, 200, 40, 7);
  const ProgramResult trained =
      one.call({"run", "--data=mnist", "--data-dir", a, "--widths=8", "--batch=20", "--steps=20",
                "--device=cpu", "--curve=false"});
  INFO(trained.errors);
  REQUIRE(trained.exit_code == 0);
  const std::string run = one.runs().at(0).id;
  const ProgramResult same = one.replay(run, {"--data-dir", a});
  INFO(same.errors);
  CHECK(same.exit_code == 0);
  const ProgramResult others = one.replay(run, {"--data-dir", b});
  CHECK(others.exit_code == kExitData);
  CHECK(others.output.empty());
  CHECK_THAT(others.errors, Contains("expected the data with the hash"));
  CHECK(one.replay(run, {"--data-dir", one.folder / "none"}).exit_code == kExitData);
}

TEST_CASE("a run that diverged is replayed to where it did", "[cli]") {
  const Replayed one;
  const ProgramResult trained =
      one.call({"run", "--train-examples=300", "--widths=16", "--steps=60", "--device=cpu",
                "--lr=1e30", "--clip=0", "--eval-every=0.1"});
  INFO(trained.errors);
  REQUIRE(one.runs().at(0).state == "diverged");
  const ProgramResult result = one.replay(one.runs()[0].id);
  INFO(result.errors << result.output);
  CHECK(result.exit_code == 0);
  one.change("UPDATE run SET step = step + 1");
  const ProgramResult other = one.replay(one.runs()[0].id);
  CHECK(other.exit_code == 4);
  CHECK_THAT(other.output, Contains("ended as diverged after") && Contains("and now as diverged"));
}

TEST_CASE("a replay that is interrupted leaves nothing behind", "[cli]") {
  const Replayed one;
  one.grid(kOne);
  // The stored run is made out to be a long one.
  Config config = Config::from_canonical(one.runs().at(0).canonical);
  Settings values = config.values();
  values["steps"] = "1000000";
  const Config longer = Config::resolve(values, false);
  {
    SQLite::Database db(one.db, SQLite::OPEN_READWRITE);
    SQLite::Statement set(db, "UPDATE run SET id = ?, canonical = ?");
    set.bind(1, longer.id());
    set.bind(2, longer.canonical());
    set.exec();
  }
  one.change("DELETE FROM digest; DELETE FROM topology_update; DELETE FROM eval WHERE step > 0");
  one.change("INSERT INTO digest SELECT run, 1, 999999, 1, zeroblob(48) FROM config");
  const TemporaryFolder output;
  const std::string before = sha256_file(one.db);
  RunningProgram running(output.path(), {"replay", longer.id(), "--db", one.db},
                         {"TMPDIR=" + one.scratch});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < deadline &&
         read_file(output / "stderr.txt").find(" of 1000000") == std::string::npos) {
    REQUIRE_FALSE(running.ended());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  running.send(SIGINT);
  const ProgramResult result = running.wait();
  INFO(result.errors);
  CHECK(result.exit_code == kExitStopped);
  CHECK_THAT(result.errors, Contains("the same command begins anew"));
  CHECK(result.output.empty());
  CHECK(fs::is_empty(one.scratch));
  CHECK(sha256_file(one.db) == before);
}

}  // namespace tandem::test::app_replay_cli
