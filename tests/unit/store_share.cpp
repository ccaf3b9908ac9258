// Dumps: what goes out comes back, final rows alone are shared, and nothing of a machine with them.
#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "core/files.h"
#include "core/philox.h"
#include "core/xz.h"
#include "store/dump.h"
#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_share_unit {
namespace {

using Catch::Contains;

std::string one(const std::string& path, const std::string& sql) {
  SQLite::Database db(path, SQLite::OPEN_READONLY);
  const SQLite::Column value = db.execAndGet(sql);
  return value.isNull() ? "NULL" : value.getString();
}

std::string dump_text(const std::string& path) {
  std::string text;
  dump_runs(path, std::nullopt, [&text](std::string_view piece) { text += piece; });
  return text;
}

// Two finished runs with rows before their last ones, a trial, one that failed.
void fill(const std::string& path, const std::string& data_file, int metrics = 1) {
  StoreWriter writer(path);
  const RunRecord a = make_run({{"final", "true"}, {"message", "it's \"so\""}}),
                  b = make_run({{"seed", "2"}}), c = make_run({{"seed", "3"}});
  writer.add_runs({a, b, c});
  writer.add_grid("g", "/somewhere/g.ini", "seed = 1", {a.id, c.id});
  writer.add_grid("g/tuning", "/somewhere/g.ini", "seed = 1", {b.id});
  for (const RunRecord& run : {a, b, c}) writer.begin_attempt(run.id);
  for (const RunRecord& run : {a, b}) {
    Row early = eval(run.id, 0, 1, 1, 4, 10), last = eval(run.id, 1, 1, 1, 5, 10);
    std::get<EvalRow>(early.body).step = 50;
    std::get<EvalRow>(last.body).loss = 0.1 + 0.2;
    std::get<EvalRow>(last.body).example_bits = "\xff\x03";
    writer.insert({early,
                   last,
                   metric(run.id, 2, 10, "fc1", "gap", 1e-300),
                   metric(run.id, 3, 20, "fc1", "gap", 2),
                   metric(run.id, 4, 20, "", "gap", 3),
                   {run.id, 5, TopologyRow{10, "fc1", 50, 5, 5, "ff"}},
                   {run.id, 6,
                    ProvenanceRow{R"({"kernel":"6.1","machine":"EPYC","data_files":[{"path":")" +
                                  data_file + R"(","sha256":"ab"}]})"}},
                   state(run.id, 1000, "done", 100)});
    std::vector<Row> many;
    for (int i = 0; i < metrics; ++i) {
      many.push_back(metric(run.id, 7 + i, 20, "fc1", "m" + std::to_string(i), i * 0.1));
    }
    writer.insert(many);
  }
  writer.insert({state(c.id, 0, "failed")});
}

TEST_CASE("a dump restores to the same database, bit for bit of its numbers", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite", again = folder / "again.sqlite";
  fill(path, "/data/train.gz");
  const std::string text = dump_text(path);
  atomic_write(folder / "r.sql", text);
  restore_dump(folder / "r.sql", again);
  CHECK(dump_text(again) == text);
  CHECK(test::dump(again) == test::dump(path));
  CHECK(StoreWriter(again).faults().empty());
  CHECK(one(again, "SELECT loss = 0.1 + 0.2 FROM eval WHERE sequence = 1") == "1");
  CHECK(one(again, "SELECT typeof(value) FROM metric WHERE value = 2") == "real");
  // By the program that everybody has.
  if (std::system("command -v sqlite3 > /dev/null") == 0) {
    const std::string other = folder / "other.sqlite";
    REQUIRE(std::system(("sqlite3 " + other + " < " + (folder / "r.sql")).c_str()) == 0);
    CHECK(test::dump(other) == test::dump(path));
  }
}

TEST_CASE("what is shared has final rows and names no place", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite", out = folder / "runs.sql.xz",
                    back = folder / "back.sqlite";
  fill(path, "/home/someone (old)/train.gz");
  const SharedRuns shared = share_runs({.database = path, .series = {"gap"}});
  CHECK(shared.runs == 2);
  atomic_write(out, shared.bytes);
  const std::string text = xz_decompress(shared.bytes, out);
  CHECK_THAT(text, !Contains("someone") && !Contains("kernel\"") && !Contains("/somewhere") &&
                       Contains("train.gz") && Contains("EPYC"));
  StoreWriter(back).merge({.file = out});
  CHECK(one(back, "SELECT count(*) FROM run") == "2");
  // A stage's first evaluation and the last one.
  CHECK(one(back, "SELECT count(*) FROM eval") == "4");
  CHECK(one(back, "SELECT count(*) FROM eval_bits") == "0");
  CHECK(one(back, "SELECT count(*) FROM topology_update") == "0");
  CHECK(one(back, "SELECT group_concat(n_correct) FROM v_eval") == "4,5,4,5");
  // Every step of the final run, the last one of the trial.
  CHECK(one(back, "SELECT count(*) FROM v_metric WHERE name = 'gap' AND final = 1") == "3");
  CHECK(one(back, "SELECT count(*) FROM v_metric WHERE name = 'gap' AND final IS NOT 1") == "2");
  CHECK(StoreWriter(back).faults().empty());
  CHECK_THROWS_WITH(share_runs({.database = path, .series = {"gab"}}), Contains("gap"));
  CHECK((share_runs({.database = path, .series = {"gap"}}).bytes == shared.bytes));
  CHECK((share_runs({.database = back, .series = {"gap"}}).bytes == shared.bytes));
}

// Task sequences of this many seeds: three tasks, each stage evaluated at three steps, of which the
// first counts for the matrix; later ones fall.
void fill_sequences(const std::string& path, int seeds) {
  StoreWriter writer(path);
  for (int seed = 1; seed <= seeds; ++seed) {
    const RunRecord run = make_run({{"final", "true"}, {"seed", std::to_string(seed)}});
    writer.add_runs({run});
    std::int64_t sequence = 0, step = 0;
    std::vector<Row> rows;
    for (std::int64_t stage = 0; stage <= 3; ++stage) {
      for (int again = 0; again < 3; ++again, step += 10) {
        for (const char* split : {"validation", "test"}) {
          for (std::int64_t task = 1; task <= 3; ++task) {
            const std::int64_t correct = 40 + 10 * stage - 3 * task - 5 * again + seed % 7;
            Row row = eval(run.id, sequence++, stage, task, correct, 90);
            auto& own = std::get<EvalRow>(row.body);
            own.step = step;
            own.split = split;
            own.loss = std::sqrt(static_cast<double>(seed * 1000 + sequence));
            rows.push_back(row);
          }
        }
      }
    }
    rows.push_back(state(run.id, sequence, "done", step));
    writer.insert(rows);
  }
}

std::string measures_of(const std::string& database, const std::string& split) {
  std::string text;
  const QueryResult rows = StoreReader(database).query(
      "SELECT run, acc, aia, f_chaudhry, f_incl, bwt_gem, learning_accuracy FROM v_continual"
      " WHERE split = ? ORDER BY run",
      {split});
  for (const auto& row : rows.rows) {
    for (const std::string& cell : row) text += cell + "|";
  }
  return text;
}

TEST_CASE("what is shared of a task sequence gives the same measures of it", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite", out = folder / "r.sql.xz",
                    back = folder / "b.sqlite";
  fill_sequences(path, 1);
  atomic_write(out, share_runs({.database = path}).bytes);
  StoreWriter(back).merge({.file = out});
  for (const char* split : {"test", "validation"}) {
    CHECK(measures_of(path, split).size() > 100);
    CHECK(measures_of(back, split) == measures_of(path, split));
  }
  CHECK(std::stoi(one(back, "SELECT count(*) FROM eval")) <
        std::stoi(one(path, "SELECT count(*) FROM eval")));
}

TEST_CASE("where there is little room, measures of what tables show are the same", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite", out = folder / "r.sql.xz",
                    small = folder / "small.sqlite";
  fill_sequences(path, 80);
  SharedRuns least = share_runs({.database = path});
  const std::size_t all = least.bytes.size();
  for (;;) {
    try {
      least = share_runs(
          {.database = path, .most_bytes = static_cast<std::int64_t>(least.bytes.size()) - 1});
    } catch (const StoreError&) {
      break;
    }
  }
  CHECK(least.bytes.size() < all / 2);
  CHECK_THAT(least.left_out.back(), Contains("before they were trained"));
  atomic_write(out, least.bytes);
  StoreWriter(small).merge({.file = out});
  CHECK(measures_of(small, "test") == measures_of(path, "test"));
  CHECK(StoreWriter(small).faults().empty());
  CHECK(one(small, "SELECT count(*) FROM eval WHERE loss IS NOT NULL") == "0");
  CHECK(one(small, "SELECT count(*) FROM result WHERE loss_sum IS NULL") == "0");
  CHECK(one(small, "SELECT count(*) FROM result") == one(path, "SELECT count(*) FROM result"));
}

TEST_CASE("numbers come back with all of their bits, whatever the reader rounds", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite", again = folder / "again.sqlite";
  {
    StoreWriter writer(path);
    const RunRecord run = make_run({});
    writer.add_runs({run});
    std::vector<Row> rows = {metric(run.id, 0, 0, "", "x", 3.9202294240905182),
                             metric(run.id, 1, 0, "", "x", 5e-324),
                             metric(run.id, 2, 0, "", "x", -1.7976931348623157e308),
                             metric(run.id, 3, 0, "", "x", 9007199254740993.0)};
    for (std::int64_t i = 4; i < 20'000; ++i) {
      const auto u = static_cast<double>(sub_key(11, static_cast<std::uint64_t>(i)) >> 11);
      rows.push_back(
          metric(run.id, i, 0, "", "x", std::ldexp(u, i % 3 == 0 ? -53 : i % 200 - 150)));
    }
    writer.insert(rows);
  }
  atomic_write(folder / "r.sql", dump_text(path));
  restore_dump(folder / "r.sql", again);
  SQLite::Database db(again, SQLite::OPEN_READWRITE);
  db.exec("ATTACH '" + path + "' AS o");
  CHECK(
      db.execAndGet("SELECT count(*) FROM metric m JOIN o.metric x ON x.run = m.run AND x.sequence"
                    " = m.sequence WHERE x.value IS NOT m.value")
          .getInt() == 0);
}

TEST_CASE("what is shared becomes smaller step by step, and else is refused", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  fill(path, "train.gz", 3000);
  const auto size = [&](std::int64_t most) {
    return share_runs({.database = path, .most_bytes = most});
  };
  const SharedRuns all = size(1'000'000);
  const SharedRuns fewer = size(static_cast<std::int64_t>(all.bytes.size()) - 1);
  CHECK_THAT(fewer.left_out.back(), Contains("tuning trials"));
  const SharedRuns least = size(static_cast<std::int64_t>(fewer.bytes.size()) - 1);
  CHECK_THAT(least.left_out.back(), Contains("single layers"));
  CHECK(least.bytes.size() < fewer.bytes.size());
  CHECK_THROWS_WITH(size(100), Contains("more than the 100 bytes"));
}

TEST_CASE("a config that names a place is not shared", "[unit]") {
  for (const char* corpus :
       {"/home/someone/books", "/data/books", "x,/tmp/books", "a.txt, /scratch/b"}) {
    const TemporaryFolder folder;
    const std::string path = folder / "r.sqlite";
    {
      StoreWriter writer(path);
      const RunRecord run = make_run({{"corpus", corpus}});
      writer.add_runs({run});
      writer.insert({eval(run.id, 0, 1, 1, 4, 10), state(run.id, 1, "done", 100)});
    }
    CHECK_THROWS_WITH(share_runs({.database = path}), Contains(corpus));
  }
}

TEST_CASE("text that is no dump, or reaches for another file, makes no database", "[unit]") {
  const TemporaryFolder folder;
  const std::string dump = folder / "bad.sql", victim = folder / "victim.sqlite";
  for (const std::string& text :
       {std::string("CREATE TABLE x (y);"), std::string("nonsense"),
        std::string("PRAGMA application_id = 1415671396; PRAGMA user_version = 5; BEGIN; CREATE"
                    " TABLE run (key INTEGER PRIMARY KEY);"),
        "ATTACH '" + victim + "' AS v; CREATE TABLE v.x (y);", "VACUUM INTO '" + victim + "';"}) {
    atomic_write(dump, text);
    CHECK_THROWS_AS(restore_dump(dump, folder / "made.sqlite"), StoreError);
    CHECK_FALSE(path_exists(victim));
    std::remove((folder / "made.sqlite").c_str());
  }
}

TEST_CASE("failed runs, old attempts' events and unused provenance are pruned", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  fill(path, "train.gz", 2000);
  StoreWriter writer(path);
  const RunRecord again = make_run({{"seed", "4"}}), failed = make_run({{"seed", "3"}});
  writer.add_runs({again});
  writer.begin_attempt(again.id);
  writer.set_state(again.id, "stopped", "stopped by the user");
  writer.begin_attempt(again.id);
  writer.insert({state(again.id, 0, "done", 5)});
  const std::string before = test::dump(path);
  const std::string events = one(path, "SELECT count(*) FROM event");
  const auto [size, dry] = writer.prune({failed.id}, true);
  CHECK(test::dump(path) == before);
  CHECK(one(path, "SELECT count(*) FROM event") == events);
  CHECK(dry <= size);
  const auto [was, is] = writer.prune({failed.id}, false);
  CHECK(was == size);
  CHECK(is <= was);
  CHECK(one(path, "SELECT count(*) FROM run WHERE state = 'failed'") == "0");
  CHECK(one(path, "SELECT count(*) FROM run") == "3");
  CHECK(one(path,
            "SELECT count(*) FROM event e JOIN run r ON r.key = e.run WHERE e.attempt <"
            " r.attempt") == "0");
  CHECK(one(path, "SELECT count(*) FROM event") != "0");
  CHECK(writer.faults().empty());
}

}  // namespace
}  // namespace tandem::test::store_share_unit
