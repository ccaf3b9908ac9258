// Databases that earlier releases wrote, and one that a later release will have written, under the
// commands of this one: what is asked of them, what goes on from where it was stopped, and what is
// refused.
#include <fmt/format.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "store/store.h"
#include "support/old_store.h"
#include "support/run_program.h"
#include "support/skip.h"

namespace tandem::test::app_old_stores_cli {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;
using Lines = std::vector<std::string>;

constexpr int kResumedSince = 2;  // version 1 had another format of a group's state

// An old database under this program, which runs in its folder: the corpus is named by a path
// relative to that, and is part of ids.
class Old {
 public:
  explicit Old(int version) : store(version), version_(version), before_(fs::current_path()) {
    fs::current_path(store.folder());
  }
  ~Old() { fs::current_path(before_); }
  Old(const Old&) = delete;
  Old& operator=(const Old&) = delete;

  ProgramResult program(std::vector<std::string> words) const {
    words.insert(words.end(), {"--db", "results.sqlite"});
    return run_program(words, {"TANDEM_CACHE=" + (store / "cache")});
  }
  // The options of a run of the file, one a line in NAME.txt.
  ProgramResult run(const std::string& name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"run", "--jobs=1"};
    const std::string options = read_file(store / (name + ".txt"));
    for (const auto& line : split(options, '\n')) {
      if (!line.empty()) words.emplace_back(line);
    }
    words.insert(words.end(), more.begin(), more.end());
    // What was SET's default then.
    if (version_ == 1 && name == "images") words.emplace_back("--regrow-dropped=keep");
    return program(words);
  }
  Lines lines(const std::string& sql) const { return plain_lines(store.db(), sql); }
  std::string one(const std::string& sql) const { return lines(sql).at(0); }

  const OldStore store;

 private:
  int version_;
  fs::path before_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool has_images() {
  return fs::exists("/usr/share/datasets/fashion-mnist") || std::getenv("TANDEM_DATA") != nullptr;
}

// What runs logged, but for times. Of this version's tables.
Lines logged(const Old& old, const std::string& runs) {
  const std::string of = " JOIN run r ON r.key = t.run WHERE r.id IN (" + runs + ")";
  Lines rows;
  for (const std::string& sql :
       {"SELECT r.id, t.sequence, t.stage, t.step, t.task, o.identity, t.split, t.n_correct, "
        "t.n_total, printf('%.17g', t.loss) FROM eval t JOIN readout o ON o.key = t.readout" +
            of,
        "SELECT r.id, t.sequence, t.step, t.layer, n.name, printf('%.17g', t.value) FROM metric t "
        "JOIN metric_name n ON n.key = t.name" +
            of + " AND n.name NOT GLOB 'probe_*'",
        "SELECT r.id, t.sequence, t.step, t.layer, t.nnz, t.dropped, t.grown, t.mask_hash FROM "
        "topology_update t" +
            of}) {
    const Lines more = old.lines(sql + " ORDER BY 1, 2");
    rows.insert(rows.end(), more.begin(), more.end());
  }
  return rows;
}

// Not by id: those of runs on a corpus did not know its content before version 3.
Lines results(const Old& old, const std::string& runs) {
  return old.lines(
      "SELECT r.weights, r.seed, r.state, r.step, o.identity, p.split, p.step, p.n_correct, "
      "p.n_total, "
      "printf('%.10g', p.loss_sum) FROM result p JOIN readout o ON o.key = p.readout JOIN run r ON "
      "r.key = p.run WHERE r.id IN (" +
      runs + ") ORDER BY 1, 2, 3, 4, 5, 6");
}

// The same results. The steps before the stop were taken on another machine, whose products may
// round otherwise: losses, the last field, agree to six digits.
void require_alike(const Lines& a, const Lines& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto place = a[i].rfind('|'), other = b[i].rfind('|');
    CAPTURE(a[i], b[i]);
    CHECK(a[i].substr(0, place) == b[i].substr(0, other));
    CHECK(std::stod(a[i].substr(place + 1)) ==
          Approx(std::stod(b[i].substr(other + 1))).epsilon(1e-6));
  }
}

// The same runs where nothing was stopped.
void train_undisturbed(const Old& old) {
  fs::remove_all(old.store / "checkpoints");
  fs::remove(old.store.db());
  REQUIRE(old.program({"grid", "run", "halted.ini", "--jobs=1"}).exit_code == 0);
  REQUIRE(old.run("images").exit_code == 0);
}

// Every file below a folder with its bytes, but for locks, which whoever looked at a file leaves,
// and what is remembered of data.
std::map<std::string, std::string> files_below(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    if (!entry.is_regular_file() || name.rfind("cache/", 0) == 0) continue;
    if (entry.path().extension() == ".lock") continue;
    files[name] = read_file(entry.path().string());
  }
  return files;
}

}  // namespace

TEST_CASE("a database of an earlier release is asked after one command", "[cli]") {
  for (const int version : kOldVersions) {
    CAPTURE(version);
    const Old old(version);
    const ProgramResult early = old.program({"query", "SELECT count(*) AS n FROM v_run"});
    CHECK(early.exit_code == kExitStore);
    CHECK_THAT(early.errors, Contains(fmt::format("has schema version {}", version)) &&
                                 Contains("`tandem db check --db results.sqlite`"));
    const std::string runs = old.one("SELECT count(*) FROM run");
    const std::string id = old.one(
        "SELECT r.id FROM run r JOIN grid_run g ON g.run_id = r.id WHERE g.grid = 'sweep' "
        "AND r.weights = 'rigl' AND r.seed = 1");
    // The mean over seeds of what the table shows, of tables of that time.
    const std::string evaluations =
        version < 4 ? "eval"
                    : "(SELECT e.*, o.attention_readout, o.weights_readout, o.weights_budget FROM "
                      "eval e JOIN readout o ON o.key = e.readout)";
    const std::string loss = old.one(
        "SELECT printf('%.3f', avg(e.loss)) FROM " + evaluations +
        " e JOIN run r ON r.key = e.run JOIN grid_run g ON g.run_id = r.id WHERE g.grid = 'sweep' "
        "AND r.weights = 'rigl' AND e.split = 'test' AND e.stage = 1 AND e.step = r.step AND "
        "e.attention_readout = 'full' AND e.weights_readout = 'sparse' AND "
        "coalesce(e.weights_budget, 0.5) = 0.5");

    const ProgramResult check = old.program({"db", "check"});
    INFO(check.output << check.errors);
    REQUIRE(check.exit_code == 0);
    CHECK_THAT(check.output, Contains(runs + " runs") && Contains("no faults"));
    CHECK(old.program({"query", "SELECT count(*) AS n FROM v_run", "--format=csv"}).output ==
          "n\n" + runs + "\n");
    const ProgramResult table = old.program({"table", "sweep.ini"});
    INFO(table.output << table.errors);
    CHECK(table.exit_code == 0);
    CHECK_THAT(table.output, Contains("| rigl | full | " + loss + " (n=2)"));
    CHECK_FALSE(has(table.output + table.errors, "missing"));
    CHECK_THAT(old.program({"why", id.substr(0, 10)}).output, Contains("rigl"));
    CHECK_THAT(old.program({"tail", id.substr(0, 10), "--once"}).output, Contains("done"));
    const ProgramResult weights =
        old.program({"export", id.substr(0, 10), "--out", old.store / "w.safetensors"});
    INFO(weights.errors);
    CHECK(weights.exit_code == 0);
  }
}

TEST_CASE("runs that an earlier release stopped go on, or begin anew and say so", "[cli]") {
  if (!has_images()) return test::skip("Fashion-MNIST was not found; set TANDEM_DATA");
  for (const int version : kOldVersions) {
    CAPTURE(version);
    Lines expected;
    {
      const Old calm(version);
      train_undisturbed(calm);
      expected = results(calm, "SELECT id FROM run");
    }
    REQUIRE(expected.size() > 3);
    const Old old(version);
    std::string ids;
    for (const std::string& id : old.lines("SELECT id FROM run WHERE state = 'stopped'")) {
      ids += (ids.empty() ? "'" : ", '") + id + "'";
    }
    REQUIRE(old.program({"db", "check"}).exit_code == 0);
    const Lines before = logged(old, ids);
    const std::string runs = old.one("SELECT count(*) FROM run");

    const ProgramResult plan = old.program({"grid", "plan", "halted.ini"});
    const ProgramResult grid = old.program({"grid", "run", "halted.ini", "--jobs=1"});
    const ProgramResult run = old.run("images");
    INFO(plan.output << plan.errors << grid.errors << run.errors);
    REQUIRE(grid.exit_code == 0);
    REQUIRE(run.exit_code == 0);
    CHECK(old.one("SELECT count(*) FROM run") == runs);  // the same ones
    const Lines after = logged(old, ids);
    if (version >= kResumedSince) {
      CHECK_THAT(plan.output, Contains("1 groups (1 resumed)"));
      CHECK_THAT(grid.errors, Contains("resumed at stage 0, step 8"));
      CHECK_THAT(run.errors, Contains("resumed at stage 0, step 20"));
      const std::set<std::string> kept(after.begin(), after.end());
      for (const std::string& row : before) CHECK(kept.count(row) == 1);
    } else {
      for (const ProgramResult& said : {plan, grid, run}) {
        CHECK_THAT(said.errors, Contains("is another version's, which this program can't go on"));
      }
    }
    CHECK(after.size() > before.size());
    require_alike(results(old, ids), expected);
    CHECK(old.lines("SELECT DISTINCT state, attempt FROM run WHERE id IN (" + ids + ")") ==
          Lines{"done|2"});
    CHECK_THAT(old.program({"db", "check"}).output, Contains("no faults"));
  }
  // As where the earlier program was killed before its first checkpoint: what it logged goes.
  const Old calm(kNewestOldVersion);
  train_undisturbed(calm);
  const Lines expected = results(calm, "SELECT id FROM run");
  const Old old(kNewestOldVersion);
  fs::remove_all(old.store / "checkpoints");
  REQUIRE(old.program({"grid", "run", "halted.ini", "--jobs=1"}).exit_code == 0);
  REQUIRE(old.run("images").exit_code == 0);
  const std::string anew = "SELECT id FROM run WHERE attempt = 2";
  CHECK(old.lines(anew).size() == 3);
  CHECK(results(old, anew) == expected);
  CHECK(logged(old, anew).size() == logged(calm, "SELECT id FROM run").size());
  CHECK_THAT(old.program({"db", "check"}).output, Contains("no faults"));
}

TEST_CASE("a run of a method that was revised since begins anew beside the stored one", "[cli]") {
  if (!has_images()) return test::skip("Fashion-MNIST was not found; set TANDEM_DATA");
  const Old old(kNewestOldVersion);
  REQUIRE(old.program({"db", "check"}).exit_code == 0);
  const std::string where = " FROM run WHERE weights = 'set'";
  const std::string id = old.one("SELECT id" + where);
  {
    SQLite::Database db(old.store.db(), SQLite::OPEN_READWRITE);
    const std::string canonical =
        db.execAndGet("SELECT canonical" + where).getString() + "revision.weights.set=70\n";
    SQLite::Statement set(
        db, "UPDATE run SET id = ?, canonical = ?, state = 'done' WHERE weights = 'set'");
    set.bind(1, sha256(canonical));
    set.bind(2, canonical);
    set.exec();
  }
  const std::string stored = old.one("SELECT id" + where);
  const ProgramResult run = old.run("images");
  INFO(run.errors);
  CHECK(run.exit_code == 0);
  CHECK_THAT(run.errors,
             Contains("1 of the runs that are asked for is stored as an earlier revision") &&
                 Contains("run " + stored.substr(0, 12) + " with weights.set=70 is run " +
                          id.substr(0, 12) + " with the first now"));
  CHECK(old.lines("SELECT id, state FROM run WHERE weights = 'set' ORDER BY key") ==
        Lines{stored + "|done", id + "|done"});
}

TEST_CASE("readers and a writer that come to an old database at once leave it whole", "[cli]") {
  const int version = kOldVersions[0];
  const Old old(version);
  const std::string runs = old.one("SELECT count(*) FROM run");
  std::vector<std::unique_ptr<TemporaryFolder>> outputs;
  std::vector<std::unique_ptr<RunningProgram>> programs;
  const auto start = [&](const std::vector<std::string>& words) {
    outputs.push_back(std::make_unique<TemporaryFolder>());
    programs.push_back(std::make_unique<RunningProgram>(outputs.back()->path(), words));
  };
  for (int i = 0; i < 8; ++i) {
    if (i == 3) {
      start({"db", "check", "--db", "results.sqlite"});
    } else {
      start({"query", "SELECT count(*) AS n FROM v_run", "--format=csv", "--db", "results.sqlite"});
    }
  }
  for (std::size_t i = 0; i < programs.size(); ++i) {
    const ProgramResult result = programs[i]->wait();
    INFO(i << ": " << result.output << result.errors);
    if (i == 3) {
      CHECK(result.exit_code == 0);
      CHECK_THAT(result.output, Contains("no faults"));
    } else if (result.exit_code == 0) {
      CHECK(result.output == "n\n" + runs + "\n");
    } else {  // it came before the writer was done
      CHECK(result.exit_code == kExitStore);
      CHECK_THAT(result.errors, Contains(fmt::format("has schema version {}", version)));
    }
  }
  const ProgramResult whole = old.program({"db", "check"});
  CHECK(whole.exit_code == 0);
  CHECK_THAT(whole.output, Contains(runs + " runs") && Contains("no faults"));
}

TEST_CASE("of several writers that come to an old database at once, one writes", "[cli]") {
  const Old old(kOldVersions[0]);
  std::vector<std::unique_ptr<TemporaryFolder>> outputs;
  std::vector<std::unique_ptr<RunningProgram>> programs;
  for (int i = 0; i < 4; ++i) {
    outputs.push_back(std::make_unique<TemporaryFolder>());
    programs.push_back(std::make_unique<RunningProgram>(
        outputs.back()->path(), Lines{"db", "check", "--db", "results.sqlite"}));
  }
  int wrote = 0;
  for (const auto& program : programs) {
    const ProgramResult result = program->wait();
    INFO(result.output << result.errors);
    if (result.exit_code == 0) {
      ++wrote;
      CHECK_THAT(result.output, Contains("no faults"));
    } else {
      CHECK(result.exit_code == kExitStore);
      CHECK_THAT(result.errors, Contains("is locked by process"));
    }
  }
  CHECK(wrote > 0);

  const StoreWriter writer(old.store.db());
  for (const Lines& words : {Lines{"db", "check"}, Lines{"grid", "run", "sweep.ini"}}) {
    const ProgramResult refused = old.program(words);
    INFO(refused.output);
    CHECK(refused.exit_code == kExitStore);
    CHECK_THAT(refused.errors,
               Contains(fmt::format("is locked by process {}; wait until that ends, or stop it",
                                    ::getpid())));
  }
}

// A group of which one run ended elsewhere in the meantime goes on from its checkpoint with both,
// and what was merged of the one stays: here with a loss that no training gives.
TEST_CASE("a run that ended elsewhere keeps its rows where its group goes on", "[cli]") {
  const TemporaryFolder between;
  const std::string merged = between / "ended.sqlite";
  std::string ended;
  {
    const Old elsewhere(kNewestOldVersion);
    fs::remove_all(elsewhere.store / "checkpoints");
    fs::remove(elsewhere.store.db());
    std::string grid = read_file("halted.ini");
    grid.replace(grid.find("seed = 1..2"), 11, "seed = 1");
    atomic_write("halted.ini", grid);
    REQUIRE(elsewhere.program({"grid", "run", "halted.ini", "--jobs=1"}).exit_code == 0);
    ended = elsewhere.one("SELECT id FROM run WHERE state = 'done'");
    SQLite::Database(elsewhere.store.db(), SQLite::OPEN_READWRITE)
        .exec("UPDATE eval SET loss = loss + 1");
    fs::copy_file(elsewhere.store.db(), merged);
  }
  const Old here(kNewestOldVersion);
  REQUIRE(here.program({"db", "merge", merged}).exit_code == 0);
  CHECK(here.one("SELECT state FROM run WHERE id = '" + ended + "'") == "done");
  const Lines before = logged(here, "'" + ended + "'");
  const ProgramResult grid = here.program({"grid", "run", "halted.ini", "--jobs=1"});
  INFO(grid.output << grid.errors);
  REQUIRE(grid.exit_code == 0);
  CHECK_THAT(grid.errors, Contains("resumed at stage 0, step 8"));
  CHECK(logged(here, "'" + ended + "'") == before);
  CHECK(here.lines("SELECT DISTINCT state FROM run WHERE id IN (SELECT run_id FROM grid_run WHERE "
                   "grid = 'halted')") == Lines{"done"});
}

// A file of this version to which a later one added something, closed in order and in WAL mode.
TEST_CASE("a database of a later release is refused by every command, and stays as it is",
          "[cli]") {
  const Old old(kOldVersions[0]);
  REQUIRE(old.program({"db", "check"}).exit_code == 0);
  const std::string id = old.one("SELECT id FROM run WHERE state = 'done' AND weights = 'rigl'");
  {
    SQLite::Database later(old.store.db(), SQLite::OPEN_READWRITE);
    later.exec(
        fmt::format("ALTER TABLE run ADD COLUMN later TEXT;"
                    "CREATE VIEW v_later AS SELECT later FROM run;"
                    "PRAGMA user_version = {}",
                    kStoreVersion + 1));
  }
  const std::vector<Lines> commands = {
      {"run", "--data=bytes", "--corpus=corpus.txt", "--context=16"},
      {"grid", "run", "sweep.ini"},
      {"grid", "plan", "sweep.ini"},
      {"grid", "status", "sweep.ini"},
      {"query", "SELECT 1"},
      {"table", "sweep.ini"},
      {"plot", "sweep.ini", "curve", "--out", "p.csv"},
      {"why", id},
      {"tail", id, "--once"},
      {"export", id},
      {"replay", id},
      {"db", "merge", "sweep.sqlite"},
      {"db", "export"},
      {"db", "prune"},
      {"db", "share", "--out", "p.sql.xz"},
      {"db", "check"}};
  fs::copy_file(old.store.db(), old.store / "sweep.sqlite");
  const auto refuse = [&](const Lines& words) {
    const auto before = files_below(old.store.folder());
    const ProgramResult refused = old.program(words);
    INFO(join(words, " ") << "\n" << refused.output << refused.errors);
    CHECK(refused.exit_code == kExitStore);
    CHECK_THAT(refused.errors,
               Contains(fmt::format("has schema version {}, this program knows versions up to {}",
                                    kStoreVersion + 1, kStoreVersion)) &&
                   Contains("left as it is"));
    CHECK(files_below(old.store.folder()) == before);
  };
  for (const Lines& words : commands) refuse(words);
  {
    SQLite::Database later(old.store.db(), SQLite::OPEN_READWRITE);
    later.execAndGet("PRAGMA journal_mode = WAL");
  }
  for (const Lines& words : {Lines{"query", "SELECT 1"}, Lines{"db", "check"}}) refuse(words);
}

}  // namespace tandem::test::app_old_stores_cli
