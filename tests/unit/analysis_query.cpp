// Named queries run, and results are rendered so that other programs read them.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/query.h"
#include "core/error.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_query_unit {
namespace {

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
    if (q.name != "topology" && q.name != "continual" && q.name != "tuning")
      CHECK_FALSE(run_query(reader, q.name).rows.empty());
  }
  for (const char* name :
       {"runs", "slowest", "diverged", "accuracy", "curves", "continual", "topology", "columns"})
    CHECK(names.count(name) == 1);
  CHECK(run_query(reader, "runs").rows.size() == 10);
  CHECK(run_query(reader, "runs", {"small"}).rows.size() == 10);
  CHECK(run_query(reader, "runs", {"other"}).rows.empty());
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

}  // namespace
}  // namespace tandem::test::analysis_query_unit
