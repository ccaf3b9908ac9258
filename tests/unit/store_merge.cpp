// Merging: databases of one group's machines come together to the same, whatever the order, and
// nothing of a run is lost or doubled.
#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_merge_unit {
namespace {

using Catch::Contains;

// What the views and tables hold, by names that are the same in every file: ids, not keys.
std::string content(const std::string& path) {
  const StoreReader reader(path);
  std::string text;
  for (const char* sql :
       {"SELECT id, canonical, setting, weights, attention, scenario, strategy, model, data, seed,"
        " state, attempt, last_sequence, step, train_seconds, train_flops, message, storage,"
        " provenance FROM run ORDER BY id",
        "SELECT * FROM v_run ORDER BY run", "SELECT * FROM v_eval ORDER BY run, sequence",
        "SELECT * FROM v_result ORDER BY run, split, weights_readout, weights_budget, masked",
        "SELECT r.id, b.sequence, hex(b.bits) FROM eval_bits b JOIN run r ON r.key = b.run ORDER BY"
        " 1, 2",
        "SELECT run, sequence, step, layer, name, value FROM v_metric ORDER BY run, sequence",
        "SELECT run, sequence, step, layer, nnz, dropped, grown, mask_hash FROM v_topology ORDER BY"
        " run, sequence",
        "SELECT r.id, p.sequence, p.provenance, p.attempt FROM run_provenance p JOIN run r ON r.key"
        " = p.run ORDER BY 1, 2, 3",
        "SELECT * FROM provenance ORDER BY id", "SELECT name, file, text FROM grid ORDER BY name",
        "SELECT * FROM grid_run ORDER BY grid, run_id",
        "SELECT * FROM tuning ORDER BY grid, method, trial, seed",
        "SELECT * FROM tuning_plan ORDER BY grid", "SELECT * FROM tuned_run ORDER BY grid, run_id",
        "SELECT * FROM reference ORDER BY source, method, setting, metric",
        "SELECT r.id, e.attempt, e.kind, e.message FROM event e JOIN run r ON r.key = e.run ORDER "
        "BY"
        " 1, e.key"}) {
    const QueryResult result = reader.query(sql);
    text += std::string(sql) + "\n";
    for (std::size_t i = 0; i < result.rows.size(); ++i) {
      for (std::size_t j = 0; j < result.columns.size(); ++j) {
        text += (result.null[i][j] ? "NULL" : result.rows[i][j]) + "|";
      }
      text += "\n";
    }
  }
  return text;
}

std::string one(const std::string& path, const std::string& sql) {
  const QueryResult rows = StoreReader(path).query(sql);
  REQUIRE(rows.rows.size() == 1);
  return rows.null[0][0] ? "NULL" : rows.rows[0][0];
}

RunRecord seeded(int seed) { return make_run({{"seed", std::to_string(seed)}}); }

// All kinds of rows; `correct` tells two results of one run apart.
std::vector<Row> result_of(const std::string& run, std::int64_t correct, const std::string& end,
                           std::int64_t step = 100, const char* machine = "m") {
  Row evaluated = eval(run, 0, 1, 1, correct, 16);
  EvalRow& body = std::get<EvalRow>(evaluated.body);
  body.example_bits = std::string("\x03\xff", 2);
  body.readout.weights = {"sparse", 0.1, "density"};
  Row at_length = eval(run, 1, 1, 1, correct, 16);
  std::get<EvalRow>(at_length.body).readout.context = 64 + correct % 2;
  return {evaluated,
          at_length,
          {run, 2, TopologyRow{10, "fc" + std::to_string(correct % 3), 50, 5, 5, "ff"}},
          metric(run, 3, 10, "fc1", "gap" + std::to_string(correct % 2), 0.25),
          {run, 4, ProvenanceRow{R"({"machine":")" + std::string(machine) + R"("})"}},
          state(run, 5, end, step)};
}

void train(StoreWriter& writer, const RunRecord& run, std::int64_t correct, const std::string& end,
           std::int64_t step = 100, const char* machine = "m") {
  writer.add_runs({run});
  writer.begin_attempt(run.id);
  writer.insert(result_of(run.id, correct, end, step, machine));
}

TuningRecord trial(const std::string& run, const std::string& method, const std::string& values,
                   bool chosen) {
  TuningRecord t;
  t.grid = "g";
  t.method = method;
  t.trial = values;
  t.seed = 1;
  t.run = run;
  t.score = 0.5;
  t.chosen = chosen;
  return t;
}

TEST_CASE("databases merge to the same in every order, and again", "[unit]") {
  const TemporaryFolder folder;
  const std::vector<std::string> files = {folder / "a.sqlite", folder / "b.sqlite",
                                          folder / "c.sqlite"};
  {
    StoreWriter a(files[0]);
    a.add_grid("g", "g.ini", "seed = 1..3", {seeded(1).id, seeded(2).id, seeded(3).id});
    train(a, seeded(1), 5, "done");
    train(a, seeded(2), 6, "failed");
    train(a, seeded(3), 7, "running");  // its rows stay where it goes on
    train(a, seeded(4), 9, "done", 100, "first");
    a.add_tuning({trial(seeded(1).id, "rigl", "lr=1", true)});
    a.add_references({{.source = "s", .method = "m", .setting = "x", .metric = "acc", .value = 1}});
  }
  {
    StoreWriter b(files[1]);
    b.add_grid("g", "g.ini", "seed = 1..4", {seeded(4).id, seeded(2).id});
    b.add_grid("h", "h.ini", "seed = 5", {seeded(5).id});
    train(b, seeded(2), 11, "done");
    train(b, seeded(4), 12, "done", 100, "second");  // the same run with another result
    train(b, seeded(5), 13, "diverged", 40);
    b.add_tuning({trial(seeded(4).id, "rigl", "lr=1", false),
                  trial(seeded(5).id, "rigl", "lr=2", true),
                  trial(seeded(5).id, "set", "lr=2", true)});
    b.add_tuning_plan({.grid = "g",
                       .trials = 2,
                       .axes = "lr 1..2",
                       .cells = "",
                       .measure = "loss",
                       .runs = {{seeded(4).id, "rigl"}, {seeded(2).id, "set"}}});
  }
  {
    StoreWriter c(files[2]);
    train(c, seeded(5), 14, "diverged", 60);  // it came further
    train(c, seeded(3), 8, "stopped");
    train(c, seeded(6), 15, "done");
    c.add_references({{.source = "s", .method = "m", .setting = "x", .metric = "acc", .value = 2}});
  }
  std::vector<int> order = {0, 1, 2};
  std::string first;
  do {
    const std::string into = folder / "merged.sqlite";
    std::filesystem::remove(into);
    StoreWriter writer(into);
    for (const int i : order) writer.merge({.file = files[static_cast<std::size_t>(i)]});
    const std::string merged = content(into);
    if (first.empty()) first = merged;
    CHECK(merged == first);
    CHECK(writer.faults().empty());
    for (const int i : order) {
      const MergeReport again = writer.merge({.file = files[static_cast<std::size_t>(i)]});
      CHECK(again.added == 0);
      CHECK(again.replaced.empty());
    }
    CHECK(content(into) == first);
    CHECK(one(into, "SELECT count(*) FROM run") == "6");
    const auto state = [&](int seed) {
      return one(into, "SELECT state || step FROM run WHERE seed = " + std::to_string(seed));
    };
    CHECK(state(1) == "done100");
    CHECK(state(2) == "done100");
    CHECK(state(3) == "queued0");
    CHECK(state(5) == "diverged60");
    CHECK(one(into, "SELECT count(DISTINCT n_correct) FROM v_eval WHERE seed = 4") == "1");
    CHECK(one(into, "SELECT count(*) FROM v_eval WHERE seed = 3") == "0");
    CHECK(one(into, "SELECT density FROM v_run WHERE seed = 3") == "0.1");
    CHECK(
        one(into, "SELECT group_concat(trial) FROM tuning WHERE method = 'rigl' AND chosen = 1") ==
        "lr=2");
    CHECK(one(into, "SELECT count(*) FROM grid_run WHERE grid = 'g'") == "4");
    CHECK(one(into, "SELECT value FROM reference") == "2");
  } while (std::next_permutation(order.begin(), order.end()));
  // Merging two of them first and the third into that is the same as well.
  const std::string pair = folder / "pair.sqlite", whole = folder / "whole.sqlite";
  {
    StoreWriter writer(pair);
    writer.merge({.file = files[2]});
    writer.merge({.file = files[1]});
  }
  {
    StoreWriter writer(whole);
    writer.merge({.file = files[0]});
    writer.merge({.file = pair});
  }
  CHECK(content(whole) == first);
}

TEST_CASE("a merge says what it did, and leaves the other file alone", "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b %?#.sqlite";
  {
    StoreWriter writer(a);
    train(writer, seeded(1), 5, "done");
    train(writer, seeded(2), 6, "failed");
    train(writer, seeded(7), 6, "done");
  }
  {
    StoreWriter writer(b);
    train(writer, seeded(1), 7, "done");
    train(writer, seeded(2), 6, "done");
    train(writer, seeded(3), 6, "done");
    train(writer, seeded(4), 6, "stopped");
    train(writer, seeded(7), 6, "done");
  }
  const std::string before = read_file(b);
  StoreWriter writer(a);
  const MergeReport report = writer.merge({.file = b});
  CHECK(report.runs == 5);
  CHECK(report.added == 1);
  CHECK(report.unfinished == 1);
  CHECK(report.differing == 1);
  CHECK(report.named == std::vector<std::string>{seeded(1).id.substr(0, 12)});
  CHECK((report.replaced.size() == 1 || report.replaced.size() == 2));
  CHECK(read_file(b) == before);
  CHECK_FALSE(path_exists(b + "-wal"));
  CHECK_THROWS_WITH(writer.merge({.file = a}), Contains("itself"));
  CHECK_THROWS_AS(writer.merge({.file = folder / "none.sqlite"}), StoreError);
  // The writer goes on with runs that were replaced under its feet.
  writer.insert({metric(seeded(2).id, 9, 10, "fc1", "gap0", 1)});
  CHECK(writer.faults().empty());
}

TEST_CASE("one name for two grids is refused before anything is merged, and may be changed",
          "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite";
  {
    StoreWriter writer(a);
    writer.add_grid("g", "g.ini", "seed = 1", {seeded(1).id});
    train(writer, seeded(1), 5, "done");
  }
  {
    StoreWriter writer(b);
    writer.add_grid("g", "other.ini", "seed = 2", {seeded(2).id});
    writer.add_grid("g/tuning", "other.ini", "seed = 2", {seeded(3).id});
    train(writer, seeded(2), 6, "done");
    train(writer, seeded(3), 6, "done");
    writer.add_tuning({trial(seeded(3).id, "rigl", "lr=1", true)});
  }
  StoreWriter writer(a);
  const std::string before = content(a);
  CHECK_THROWS_WITH(writer.merge({.file = b}), Contains("--rename g=NAME") && Contains(b));
  CHECK(content(a) == before);
  CHECK_THROWS_WITH(writer.merge({.file = b, .renamed = {{"h", "x"}}}), Contains("h"));
  writer.merge({.file = b, .renamed = {{"g", "colleague"}}});
  CHECK(one(a, "SELECT group_concat(grid, ' ') FROM (SELECT grid FROM grid_run ORDER BY grid)") ==
        "colleague colleague/tuning g");
  CHECK(one(a, "SELECT grid FROM tuning") == "colleague");
}

TEST_CASE("a name that the other file has already is none to rename to", "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite";
  {
    StoreWriter writer(b);
    writer.add_grid("p", "p.ini", "seed = 1", {seeded(1).id});
    writer.add_grid("q", "q.ini", "seed = 2", {seeded(2).id});
  }
  CHECK_THROWS_WITH(StoreWriter(a).merge({.file = b, .renamed = {{"p", "q"}}}),
                    Contains("has a grid q of its own"));
}

TEST_CASE("a run that goes on here gives way to one that ended, and to no failed one", "[unit]") {
  const TemporaryFolder folder;
  const std::string here = folder / "here.sqlite", failed = folder / "failed.sqlite",
                    done = folder / "done.sqlite";
  {
    StoreWriter writer(here), other(failed), last(done);
    train(writer, seeded(1), 5, "stopped", 60);
    train(other, seeded(1), 6, "failed", 80);
    train(last, seeded(1), 7, "done");
  }
  StoreWriter writer(here);
  writer.merge({.file = failed});
  CHECK(one(here, "SELECT state || step FROM run") == "stopped60");
  CHECK(one(here, "SELECT min(n_correct) FROM eval") == "5");
  writer.merge({.file = done});
  CHECK(one(here, "SELECT state || step FROM run") == "done100");
}

TEST_CASE("what is shared of a run gives way to where it comes from, in both orders", "[unit]") {
  const TemporaryFolder folder;
  const std::string origin = folder / "a.sqlite", shared = folder / "a.sql.xz";
  {
    StoreWriter writer(origin);
    train(writer, seeded(1), 5, "done");
    Row early = eval(seeded(1).id, 7, 0, 1, 2, 16);
    StateRow end{.state = "done", .step = 100, .train_seconds = 3.9202294240905182};
    writer.insert({early, {seeded(1).id, 8, end}});
    writer.insert(
        {{seeded(1).id, 9, ProvenanceRow{R"({"kernel":"6.1","machine":"m","data_files":[]})"}}});
  }
  atomic_write(shared, share_runs({.database = origin}).bytes);
  const std::string one_way = folder / "one.sqlite", other_way = folder / "other.sqlite";
  {
    StoreWriter first(one_way), second(other_way);
    first.merge({.file = shared});
    const MergeReport came = first.merge({.file = origin});
    CHECK(came.replaced.size() == 1);
    CHECK(came.differing == 0);
    second.merge({.file = origin});
    CHECK(second.merge({.file = shared}).replaced.empty());
  }
  CHECK(content(one_way) == content(other_way));
  CHECK(content(one_way) == content(origin));
}

TEST_CASE("of a grid that is asked for, its runs and trials alone are merged", "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite";
  {
    StoreWriter writer(b);
    writer.add_grid("g", "g.ini", "seed = 1", {seeded(1).id});
    writer.add_grid("g/tuning", "g.ini", "seed = 1", {seeded(2).id});
    writer.add_grid("h", "h.ini", "seed = 3", {seeded(3).id});
    for (int seed = 1; seed <= 4; ++seed) train(writer, seeded(seed), seed, "done");
    writer.add_tuning({trial(seeded(2).id, "rigl", "lr=1", true)});
  }
  StoreWriter(a).merge({.file = b, .grids = {{"g"}}});
  CHECK(one(a, "SELECT group_concat(seed) FROM (SELECT seed FROM run ORDER BY seed)") == "1,2");
  CHECK(one(a, "SELECT count(*) FROM tuning") == "1");
  CHECK(one(a, "SELECT count(*) FROM grid") == "2");
}

TEST_CASE("a database whose program knew another option is merged with it", "[unit]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite";
  {
    StoreWriter writer(b);
    train(writer, seeded(1), 5, "done");
  }
  {
    SQLite::Database db(b, SQLite::OPEN_READWRITE);
    db.exec("ALTER TABLE config ADD COLUMN warp BIGINT; UPDATE config SET warp = 9;");
    // And it did not know one of this program's.
    SQLite::Statement views(db,
                            "SELECT group_concat('DROP VIEW ' || name, ';') FROM sqlite_schema"
                            " WHERE type = 'view'");
    views.executeStep();
    const std::string drop = views.getColumn(0).getString();
    views.reset();
    db.exec(drop + "; DELETE FROM meta; ALTER TABLE config DROP COLUMN lr");
  }
  StoreWriter(a).merge({.file = b});
  CHECK(one(a, "SELECT warp FROM config") == "9");
  CHECK(one(a, "SELECT density FROM v_run") == "0.1");
}

}  // namespace
}  // namespace tandem::test::store_merge_unit
