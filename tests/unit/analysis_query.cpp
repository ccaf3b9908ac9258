// Named queries run, and results are rendered so that other programs read them.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/query.h"
#include "analysis/table.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_query_unit {
namespace {

using Catch::Contains;

TEST_CASE("each named query has a title and runs, with and without rows", "[unit]") {
  const TemporaryFolder folder;
  { StoreWriter empty(folder / "empty.sqlite"); }
  const test::SmallGrid grid(folder / "r.sqlite");
  const StoreReader nothing(folder / "empty.sqlite"), reader(folder / "r.sqlite");
  std::set<std::string> names;
  for (const NamedQuery& q : named_queries()) {
    INFO(q.name);
    names.insert(q.name);
    CHECK(q.sql.rfind("-- ", 0) == 0);
    CHECK_FALSE(q.title.empty());
    CHECK_NOTHROW(run_query(nothing, q.name));
    if (q.name != "topology" && q.name != "continual" && q.name != "forgetting" &&
        q.name != "tuning")
      CHECK_FALSE(run_query(reader, q.name).rows.empty());
  }
  for (const char* name : {"runs", "slowest", "diverged", "accuracy", "curves", "continual",
                           "forgetting", "topology", "columns"})
    CHECK(names.count(name) == 1);
  CHECK(run_query(reader, "runs").rows.size() == 10);
  CHECK(run_query(reader, "runs", {"small"}).rows.size() == 10);
  CHECK_THROWS_WITH(run_query(reader, "runs", {"smal"}), Catch::Contains("did you mean small?"));
  CHECK_THROWS_AS(run_query(reader, "tuning", {"nogrid"}), ConfigError);
  CHECK_THROWS_AS(run_query(reader, "curves", {"fffffffffffff"}), ConfigError);
  CHECK_THROWS_AS(run_query(reader, "topology", {"nonsense"}), ConfigError);
  CHECK(run_query(reader, "diverged").rows.size() == 1);
  CHECK(run_query(reader, "curves", {grid.runs[0].id.substr(0, 12)}).rows.size() == 4);
}

TEST_CASE("SQL and names are told apart", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const StoreReader reader(folder / "r.sqlite");
  CHECK(run_query(reader, "select count(*) from v_run").rows[0][0] == "10");
  CHECK(run_query(reader, "WITH a AS (SELECT 1 AS x) SELECT x FROM a").rows[0][0] == "1");
  CHECK(run_query(reader, "SELECT ?1", {"it's"}).rows[0][0] == "it's");
  CHECK_THROWS_WITH(run_query(reader, "slowst"), Catch::Contains("slowest"));
  CHECK_THROWS_AS(run_query(reader, "DROP TABLE run"), ConfigError);
}

TEST_CASE("results as a table, CSV and JSON", "[unit]") {
  QueryResult r;
  r.columns = {"run", "name", "value"};
  r.rows = {{"123", "a,b \"c\"", "0.5"}, {"456", "ü", ""}, {"789", "line\nend", "12"}};
  r.null = {{false, false, false}, {false, false, true}, {false, false, false}};
  CHECK(render(r, QueryFormat::kAligned) ==
        "run  name      value\n"
        "---  --------  -----\n"
        "123  a,b \"c\"     0.5\n"
        "456  ü\n"
        "789  line end     12\n");
  CHECK(render(r, QueryFormat::kCsv) ==
        "run,name,value\n123,\"a,b \"\"c\"\"\",0.5\n456,ü,\n789,\"line\nend\",12\n");
  const auto json = nlohmann::json::parse(render(r, QueryFormat::kJson));
  REQUIRE(json.size() == 3);
  CHECK(json[0]["run"] == "123");  // ids stay text
  CHECK(json[0]["value"] == 0.5);
  CHECK(json[1]["value"].is_null());
  CHECK(json[2]["name"] == "line\nend");
  CHECK(nlohmann::json::parse(render({{"a"}, {}, {}}, QueryFormat::kJson)).empty());
  CHECK(parse_query_format("json") == QueryFormat::kJson);
  CHECK_THROWS_AS(parse_query_format("xml"), ConfigError);
}

// Values that a text of JSON must bring over whole, each in a column of its own.
TEST_CASE("whatever a query returns is JSON", "[unit]") {
  const TemporaryFolder folder;
  { StoreWriter writer(folder / "r.sqlite"); }
  const StoreReader reader(folder / "r.sqlite");
  const auto json = [&](const std::string& sql) {
    return nlohmann::json::parse(render(run_query(reader, sql), QueryFormat::kJson));
  };
  for (const std::string text :
       {".5", "5.", "1e5", "007", "+1", "-", "", "NaN", "inf", "123456789012345678901234567890",
        "12", "0x10", "1_000", "-.5", "1e", "null", "true"}) {
    CAPTURE(text);
    CHECK(json("SELECT '" + text + "' AS a")[0]["a"] == text);
  }
  CHECK(json("SELECT 0.5 AS a")[0]["a"] == 0.5);
  CHECK(json("SELECT -3 AS a")[0]["a"] == -3);
  CHECK(json("SELECT 1e300 AS a")[0]["a"] == 1e300);
  CHECK(json("SELECT 9223372036854775807 AS a")[0]["a"] == 9223372036854775807);
  CHECK(json("SELECT 9e999 AS a UNION ALL SELECT 1.5")[0]["a"] == "inf");
  CHECK(json("SELECT 9e999 AS a UNION ALL SELECT 1.5")[1]["a"] == 1.5);
  CHECK(json("SELECT -9e999 AS a")[0]["a"] == "-inf");
  CHECK(json("SELECT NULL AS a")[0]["a"].is_null());
  CHECK(json("SELECT x'1234' AS a")[0]["a"] == "1234");
  CHECK(json("SELECT CAST(x'61ff62' AS TEXT) AS a")[0]["a"] ==
        "a\xEF\xBF\xBD"
        "b");
  CHECK(json("SELECT 'a' || char(0, 10, 34, 92) AS a")[0]["a"] == std::string("a\0\n\"\\", 5));
  CHECK(json("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 'y', 2").size() == 2);
  CHECK_THROWS_WITH(json("SELECT 1 AS a, 2 AS a"), Catch::Contains("AS"));
  // Tables that no query made are told by their texts.
  const auto made = [](const std::string& text) {
    return nlohmann::json::parse(render({{"a"}, {{text}}, {{false}}}, QueryFormat::kJson))[0]["a"];
  };
  for (const std::string text : {".5", "5.", "007", "inf", "1e", "-"}) CHECK(made(text) == text);
  CHECK(made("-0.5e-3") == -0.5e-3);
}

// Two trials of two seeds: the chosen one scores .8 and .8, its rival .5 and .9, the third
// diverged.
TEST_CASE("the best rival is the trial with the best mean, not the luckiest seed", "[unit]") {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "r.sqlite");
  std::vector<TuningRecord> records;
  const auto add = [&](const char* trial, int seed, double score, bool chosen) {
    records.push_back({"g", "weights=set", trial, seed, "0", score, chosen, "own", 0, 4});
  };
  add("lr=1", 1, 0.8, true);
  add("lr=1", 2, 0.8, true);
  add("lr=2", 1, 0.5, false);
  add("lr=2", 2, 0.9, false);
  add("lr=3", 1, 0.95, false);
  add("lr=3", 2, std::nan(""), false);
  add("lr=4", 1, 0.6, false);
  add("lr=4", 2, 0.6, false);
  writer.add_tuning(records);
  const StoreReader reader(folder / "r.sqlite");
  const QueryResult q = run_query(reader, "tuning");
  REQUIRE(q.rows.size() == 1);
  REQUIRE(q.columns[6] == "best_rival");
  CHECK(q.rows[0][4] == "lr=1");
  CHECK(q.rows[0][5] == "0.8");
  CHECK(q.rows[0][6] == "0.7");
}

// A trial and final runs of one method; final runs of two learning rates; two tasks of 100 and 300
// examples, and an earlier step of the same stage.
TEST_CASE("named queries average what is alike but for seeds, without trials", "[unit]") {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "r.sqlite");
  const auto add = [&](const test::Values& values, std::int64_t first, std::int64_t second) {
    const RunRecord run = test::make_run(values);
    writer.add_runs({run});
    const auto row = [&](std::int64_t sequence, std::int64_t task, std::int64_t step,
                         std::int64_t correct, std::int64_t total) {
      Row each = test::eval(run.id, sequence, 2, task, correct, total);
      std::get<EvalRow>(each.body).step = step;
      return each;
    };
    writer.insert({row(0, 1, 50, 0, 100), row(1, 2, 50, 0, 300), row(2, 1, 90, first, 100),
                   row(3, 2, 90, second, 300), test::state(run.id, 4, "done", 90)});
    return run.id;
  };
  const std::string trial = add({{"seed", "1"}, {"lr", "1"}}, 0, 0);
  writer.add_grid("g/tuning", "g.ini", "", {trial});
  add({{"seed", "1"}, {"lr", "1"}, {"final", "true"}}, 100, 100);  // 200 of 400
  add({{"seed", "2"}, {"lr", "1"}, {"final", "true"}}, 100, 200);  // 300 of 400
  add({{"seed", "3"}, {"lr", "2"}, {"final", "true"}}, 100, 300);
  add({{"seed", "4"}, {"lr", "1"}}, 0, 100);
  const StoreReader reader(folder / "r.sqlite");
  const QueryResult q = run_query(reader, "accuracy");
  const auto column = [&](const std::string& name) {
    return static_cast<std::size_t>(std::find(q.columns.begin(), q.columns.end(), name) -
                                    q.columns.begin());
  };
  std::set<std::string> rows;
  for (const auto& row : q.rows) {
    rows.insert(row[column("kind")] + " lr " + row[column("lr")] + ": " + row[column("n")] + " " +
                row[column("accuracy")]);
  }
  CHECK(rows ==
        std::set<std::string>{"final lr 1: 2 0.625", "final lr 2: 1 1", "run lr 1: 1 0.25"});
  // The table's mean of the two is the query's.
  const Table table = build_table(
      reader,
      plan_table(
          {"t",
           {{"columns", "accuracy@full"}, {"where", "final=true lr=1"}, {"split", "validation"}}}));
  CHECK(table.rows[0].cells[0].mean.value() == Approx(0.625));
  const QueryResult c = run_query(reader, "continual");
  CHECK(c.rows.size() == q.rows.size());
}

TEST_CASE("a named query is about the grid that was added last, unless it is told", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = test::make_run({{"seed", "1"}}), b = test::make_run({{"seed", "2"}}),
                  c = test::make_run({{"seed", "3"}, {"density", "0.5"}}),
                  loose = test::make_run({{"seed", "4"}});
  StoreWriter writer(path);
  writer.add_runs({a, b, c});
  writer.add_grid("first", "f.ini", "", {a.id, b.id});
  writer.add_grid("second", "s.ini", "", {b.id, c.id});
  const StoreReader reader(path);
  const auto asked = [&](const QueryScope& scope, std::string* note = nullptr) {
    return run_query(reader, "runs", {}, scope, note).rows.size();
  };
  std::string note;
  CHECK(asked({}, &note) == 2);
  CHECK_THAT(note, Contains("grid second: 2 of 3 stored runs") && Contains("--all"));
  CHECK(asked({.grid = "first"}, &note) == 2);
  CHECK_THAT(note, Contains("grid first") && !Contains("--all"));
  CHECK(asked({.all = true}, &note) == 3);
  CHECK_THAT(note, Contains("all runs: 3 of 3"));
  CHECK(asked({.where = {{"density", {"0.5"}}}}) == 1);
  CHECK(asked({.all = true, .where = {{"density", {"0.10", "0.5"}}, {"seed", {"1", "3"}}}}) == 2);
  CHECK(asked({.where = {{"final", {"false"}}}}) == 2);  // flags as options write them
  CHECK_THROWS_WITH(asked({.grid = "frist"}), Contains("did you mean first?"));
  CHECK_THROWS_WITH(asked({.where = {{"densty", {"1"}}}}), Contains("density"));
  CHECK_THROWS_WITH(run_query(reader, "SELECT 1", {}, {.all = true}), Contains("WHERE"));
  writer.add_grid("first", "f.ini", "", {a.id, b.id});  // it was asked for again
  CHECK(run_query(reader, "runs").rows.size() == 2);
  CHECK(run_query(reader, "runs", {}, {}, &note).rows[0][0] == a.id.substr(0, 12));
  writer.add_runs({loose});  // newest, and of no grid
  CHECK(asked({}, &note) == 4);
}

TEST_CASE("the leader board ranks settings within what may be compared", "[unit]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const QueryResult q = run_query(StoreReader(folder / "r.sqlite"), "top");
  REQUIRE_FALSE(q.rows.empty());
  double last = 2;
  for (const auto& row : q.rows) {
    const double accuracy = std::stod(row[11]);
    if (row[0] == "1") last = 2;
    CHECK(accuracy <= last);
    last = accuracy;
  }
}

TEST_CASE("results as JSON lines and as Markdown", "[unit]") {
  QueryResult r;
  r.columns = {"run", "value"};
  r.rows = {{"a|b", "0.5"}, {"c", ""}};
  r.null = {{false, false}, {false, true}};
  CHECK(render(r, QueryFormat::kJsonLines) ==
        "{\"run\":\"a|b\",\"value\":0.5}\n{\"run\":\"c\",\"value\":null}\n");
  CHECK(render(r, QueryFormat::kMarkdown) ==
        "| run | value |\n|---|---:|\n| a\\|b | 0.5 |\n| c |  |\n");
  CHECK(parse_query_format("jsonl") == QueryFormat::kJsonLines);
  CHECK_THROWS_WITH(parse_query_format("xml"), Contains("markdown"));
}

}  // namespace
TEST_CASE("query forgetting: means and deviations by hand", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  {
    StoreWriter writer(path);
    const std::vector<int> ends = {60, 70, 74};  // of task 1, which had 90 at its own end
    for (std::size_t i = 0; i < ends.size(); ++i) {
      RunRecord run =
          test::make_run({{"scenario", "split"}, {"seed", std::to_string(i + 1)}, {"tasks", "2"}});
      writer.add_runs({run});
      writer.insert({test::eval(run.id, 0, 1, 1, 90, 100), test::eval(run.id, 1, 1, 2, 10, 100),
                     test::eval(run.id, 2, 2, 1, ends[i], 100),
                     test::eval(run.id, 3, 2, 2, 80, 100), test::state(run.id, 4, "done", 200)});
    }
  }
  const QueryResult result = run_query(StoreReader(path), "forgetting");
  REQUIRE(result.rows.size() == 1);
  const auto number = [&](const std::string& name) {
    const auto found = std::find(result.columns.begin(), result.columns.end(), name);
    REQUIRE(found != result.columns.end());
    return std::stod(result.rows[0][static_cast<std::size_t>(found - result.columns.begin())]);
  };
  CHECK(number("n") == 3);
  CHECK(number("forgetting") == 0.22);         // .30, .20, .16
  CHECK(number("forgetting_sd") == 0.0721);    // sqrt((64 + 4 + 36) / 2) / 100
  CHECK(number("acc") == 0.74);                // .70, .75, .77
  CHECK(number("acc_sd") == 0.0361);           // sqrt((16 + 1 + 9) / 2) / 100
  CHECK(number("learning_accuracy") == 0.85);  // (.90 + .80) / 2
  CHECK(number("bwt_gem") == -0.22);
}

}  // namespace tandem::test::analysis_query_unit
