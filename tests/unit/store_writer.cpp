// The writer and the reader: what is refused, what is kept, who may write.
#include <SQLiteCpp/SQLiteCpp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "core/embedded.h"
#include "core/error.h"
#include "core/files.h"
#include "store/schema.h"
#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_writer_unit {
namespace {

using test::make_run;

std::string one(const StoreReader& reader, const std::string& sql) {
  const QueryResult r = reader.query(sql);
  REQUIRE(r.rows.size() == 1);
  return r.null[0][0] ? "NULL" : r.rows[0][0];
}

TEST_CASE("what is written can be read", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  RunRecord a = make_run({{"weights", "rigl"}, {"seed", "3"}, {"lr", "0.05"}});
  {
    StoreWriter writer(path);
    writer.add_grid("g", "g.ini", "seed = 3", {a.id});
    writer.add_runs({a});
    CHECK(writer.begin_attempt(a.id) == 1);
    Row e = test::eval(a.id, 0, 1, 1, 90, 100);
    std::get<EvalRow>(e.body).example_bits = std::string("\x01\xfe", 2);
    TopologyRow t{10, "fc1", 50, 5, 5, "ff"};
    writer.insert(
        {e,
         {a.id, 1, t},
         test::metric(a.id, 2, 10, "fc1", "gap", 0.25),
         test::metric(a.id, 3, 10, "fc1", "gap", std::nan("")),
         {a.id, 4,
          ProvenanceRow{
              R"({"revision":"abc","threads":2,"device":"cpu","storage":"sparse,masked"})"}},
         test::state(a.id, 5, "done", 100)});
  }
  const StoreReader reader(path);
  const RunRecord back = reader.find_run(a.id.substr(0, 8));
  CHECK(back.canonical == a.canonical);
  CHECK(back.state == "done");
  CHECK(back.grid == "g");
  CHECK(back.attempt == 1);
  CHECK(back.last_sequence == 5);
  CHECK(back.seconds == 1.5);
  CHECK(back.step == 100);
  std::sort(a.values.begin(), a.values.end());
  const auto stored = values_of(back);
  for (const auto& [name, value] : a.values) CHECK(stored.at(name) == value);
  REQUIRE(reader.runs_of_grid("g").size() == 1);
  CHECK_THROWS_WITH(reader.runs_of_grid("h"), Catch::Contains("g"));
  CHECK(one(reader, "SELECT weights || seed FROM run") == "rigl3");
  CHECK(one(reader, "SELECT n_correct FROM eval") == "90");
  CHECK(one(reader, "SELECT bits FROM eval_bits") == "01fe");
  CHECK(one(reader, "SELECT accuracy FROM v_eval") == "0.9");
  CHECK(one(reader, "SELECT value FROM v_metric WHERE sequence = 2") == "0.25");
  CHECK(one(reader, "SELECT value FROM v_metric WHERE sequence = 3") == "NULL");
  CHECK(one(reader, "SELECT nnz FROM v_topology WHERE layer = 'fc1'") == "50");
  CHECK(one(reader, "SELECT revision || device || threads FROM v_run") == "abccpu2");
  CHECK(one(reader, "SELECT layer_storage FROM v_run") == "sparse,masked");
  CHECK(one(reader, "SELECT lr FROM v_run WHERE seed = 3 AND density < 0.2") == "0.05");
}

TEST_CASE("digests are one row a step, and a view of one row a tensor", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({{"seed", "1"}}), b = make_run({{"seed", "2"}});
  const std::vector<std::string> names = {"layer0.weight", "layer0.bias"};
  StoreWriter writer(path);
  writer.add_runs({a, b});
  writer.insert({{a.id, 0, DigestRow{50, names, {0x0123456789ABCDEFull, 0xFFFFFFFFFFFFFFFFull}}},
                 {a.id, 1, DigestRow{60, names, {0, 256}}},
                 {b.id, 0, DigestRow{50, names, {1, 2}}},
                 {b.id, 1, DigestRow{50, {"other"}, {3}}}});
  writer.insert({{a.id, 1, DigestRow{60, names, {7, 7}}}});  // known
  const StoreReader reader(path);
  CHECK(one(reader, "SELECT count(*) FROM tensor_list") == "2");
  CHECK(one(reader,
            "SELECT group_concat(step || ' ' || tensor || ' ' || digest, ', ') FROM (SELECT * FROM "
            "v_digest WHERE seed = 1 ORDER BY step, tensor DESC)") ==
        "50 layer0.weight 0123456789abcdef, 50 layer0.bias ffffffffffffffff, "
        "60 layer0.weight 0000000000000000, 60 layer0.bias 0000000000000100");
  CHECK(one(reader.only({b.id}), "SELECT count(*) FROM v_digest") == "3");
  CHECK(reader.find_run(a.id).last_sequence == 1);
  CHECK(writer.faults().empty());
}

TEST_CASE("a stored row of no examples is no evaluation", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = make_run({{"weights", "rigl"}});
  {
    StoreWriter writer(path);
    writer.add_runs({run});
    writer.begin_attempt(run.id);
    Row empty = test::eval(run.id, 1, 1, 2, 0, 0);
    std::get<EvalRow>(empty.body).loss = 0;
    writer.insert({test::eval(run.id, 0, 1, 1, 90, 100), empty});
  }
  const StoreReader reader(path);
  CHECK(one(reader, "SELECT count(*) FROM eval") == "2");
  CHECK(one(reader, "SELECT count(*) FROM v_eval") == "1");
  CHECK(one(reader, "SELECT count(*) FROM v_matrix") == "1");
}

TEST_CASE("a view names each column once, and v_run has every option of a run", "[unit]") {
  const TemporaryFolder folder;
  { StoreWriter writer(folder / "r.sqlite"); }
  const StoreReader reader(folder / "r.sqlite");
  for (const char* view :
       {"v_run", "v_eval", "v_metric", "v_topology", "v_digest", "v_continual"}) {
    const QueryResult r = reader.query(std::string("SELECT * FROM ") + view);
    const std::set<std::string> names(r.columns.begin(), r.columns.end());
    INFO(view);
    CHECK(names.size() == r.columns.size());
    for (const std::string& name : names) CHECK(name.find(':') == std::string::npos);
    for (const char* name : {"weights", "density", "lr", "seed", "state"}) CHECK(names.count(name));
  }
}

TEST_CASE("a state row in force is the latest of its attempt", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({});
  StoreWriter writer(path);
  writer.add_runs({a});
  writer.begin_attempt(a.id);
  writer.insert({test::state(a.id, 9, "stopped", 90)});
  writer.insert({test::state(a.id, 5, "running", 50)});  // sent again, late
  const StoreReader reader(path);
  CHECK(reader.find_run(a.id).state == "stopped");
  CHECK(reader.find_run(a.id).step == 90);
  CHECK(writer.begin_attempt(a.id) == 2);
  CHECK(reader.find_run(a.id).state == "running");
  writer.insert({test::state(a.id, 7, "done", 100)});  // counted on from an earlier checkpoint
  CHECK(reader.find_run(a.id).state == "done");
  CHECK(reader.find_run(a.id).last_sequence == 9);
  writer.set_state(a.id, "failed", "worker died");
  CHECK(reader.find_run(a.id).state == "failed");
  CHECK_THROWS_WITH(writer.set_state(a.id, "odd"), Catch::Contains("diverged"));
}

TEST_CASE("a run whose writer was killed is read as interrupted, and stopped by the next writer",
          "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({{"seed", "1"}}), b = make_run({{"seed", "2"}});
  {
    StoreWriter writer(path);
    CHECK(has_live_writer(path));
    writer.add_runs({a, b});
    writer.begin_attempt(a.id);
    writer.insert({test::eval(a.id, 3, 0, 1, 5, 10), test::metric(a.id, 4, 113, "", "gap", 1)});
    CHECK(StoreReader(path).find_run(a.id).state == "running");
  }
  CHECK_FALSE(has_live_writer(path));
  const RunRecord left = StoreReader(path).find_run(a.id);
  CHECK(left.state == "interrupted");
  CHECK(left.step == 113);  // by its latest row
  CHECK(StoreReader(path).find_run(b.id).state == "queued");
  const StoreWriter next(path);
  CHECK(StoreReader(path).find_run(a.id).state == "stopped");
  CHECK(StoreReader(path).find_run(b.id).state == "queued");
  CHECK(one(StoreReader(path), "SELECT message FROM run WHERE state = 'stopped'").find("killed") !=
        std::string::npos);
}

TEST_CASE("a removed run takes its rows along and nobody else's", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({{"seed", "1"}}), b = make_run({{"seed", "2"}});
  StoreWriter writer(path);
  writer.add_runs({a, b});
  for (const RunRecord& run : {a, b}) {
    writer.begin_attempt(run.id);
    writer.insert({test::eval(run.id, 0, 1, 1, 5, 10),
                   test::metric(run.id, 1, 10, "fc1", "gap", 0.25),
                   {run.id, 2, TopologyRow{10, "fc1", 50, 5, 5, "ff"}},
                   {run.id, 3, ProvenanceRow{R"({"revision":"abc"})"}},
                   test::state(run.id, 4, "failed", 10),
                   {run.id, 5, DigestRow{10, {"fc1.weight"}, {9}}}});
  }
  writer.remove_runs({a.id, "none"});
  const StoreReader reader(path);
  CHECK(one(reader, "SELECT group_concat(id) FROM run") == b.id);
  for (const char* table :
       {"eval", "metric", "topology_update", "digest", "run_provenance", "event"}) {
    INFO(table);
    CHECK(one(reader, std::string("SELECT count(DISTINCT run) FROM ") + table) == "1");
  }
  writer.add_runs({a});  // and can be there again
  CHECK(reader.find_run(a.id).attempt == 0);
}

TEST_CASE("adding again keeps what is there; a grid that changed names its runs anew", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({{"seed", "1"}}), b = make_run({{"seed", "2"}});
  StoreWriter writer(path);
  writer.add_runs({a, b, a});
  writer.insert({test::state(a.id, 0, "done")});
  writer.add_runs({a, b});
  writer.add_grid("g", "f", "t", {a.id, b.id});
  writer.add_grid("g", "f", "t", {a.id, b.id});
  const StoreReader reader(path);
  CHECK(reader.runs().size() == 2);
  CHECK(reader.find_run(a.id).state == "done");
  CHECK(reader.runs_of_grid("g").size() == 2);
  writer.add_grid("g", "f", "t2", {b.id});
  REQUIRE(reader.runs_of_grid("g").size() == 1);
  CHECK(reader.runs_of_grid("g")[0].id == b.id);
  writer.add_grid("g", "f", "t3", {b.id, "announced"});
  CHECK(reader.runs_of_grid("g").size() == 1);
  const auto grid = reader.find_grid("g");
  REQUIRE(grid.has_value());
  CHECK(grid->text == "t3");
  CHECK(grid->runs == std::vector<std::string>{b.id, "announced"});
  CHECK_FALSE(reader.find_grid("h").has_value());
}

TEST_CASE("a batch with a bad row changes nothing, and can be sent again mended", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({});
  StoreWriter writer(path);
  writer.add_runs({a});
  const Row good = test::metric(a.id, 0, 1, "new layer", "new name", 1.0);
  CHECK_THROWS_WITH(writer.insert({good, test::metric("0123", 1, 1, "", "x", 1)}),
                    Catch::Contains("0123"));
  CHECK_THROWS_WITH(writer.insert({good, test::eval(a.id, 1, 1, 1, 101, 100)}),
                    Catch::Contains("n_correct"));
  CHECK_THROWS_AS(writer.insert({good, {a.id, 1, ProvenanceRow{"[1"}}}), StoreError);
  const StoreReader reader(path);
  CHECK(one(reader, "SELECT count(*) FROM metric_name") == "0");
  writer.insert({good});
  CHECK(one(reader, "SELECT name || '@' || layer FROM v_metric") == "new name@new layer");
}

TEST_CASE("there is one writer", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  auto first = std::make_unique<StoreWriter>(path);
  CHECK_THROWS_WITH(StoreWriter(path), Catch::Contains("r.sqlite.lock"));
  first.reset();
  CHECK_NOTHROW(StoreWriter(path));
}

TEST_CASE("a file has one writer, whatever name it is opened by", "[unit]") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  fs::create_directory(folder / "real");
  fs::create_directory_symlink("real", folder / "linked");
  fs::create_symlink("real/r.sqlite", folder / "by_link.sqlite");
  fs::create_symlink(folder / "by_link.sqlite", folder / "by_links.sqlite");
  const std::vector<std::string> names = {folder / "real/r.sqlite", folder / "linked/r.sqlite",
                                          folder / "by_link.sqlite", folder / "by_links.sqlite",
                                          folder / "real/../linked/r.sqlite"};
  // First where the file does not exist yet: the links lead nowhere.
  for (const bool exists : {false, true}) {
    for (const std::string& first : names) {
      if (!exists) fs::remove(folder / "real/r.sqlite");
      const StoreWriter writer(first);
      for (const std::string& second : names) {
        CAPTURE(exists, first, second);
        CHECK_THROWS_WITH(StoreWriter(second), Catch::Contains("r.sqlite.lock"));
      }
    }
  }
  CHECK(fs::is_symlink(folder / "by_link.sqlite"));
  CHECK(database_file(folder / "by_links.sqlite") == (folder / "real/r.sqlite"));
  CHECK(database_file("plain.sqlite") == "plain.sqlite");
  fs::create_hard_link(folder / "real/r.sqlite", folder / "second.sqlite");
  CHECK_THROWS_WITH(StoreWriter(folder / "second.sqlite"), Catch::Contains("2 names"));
}

TEST_CASE("a reader has this program's views, whatever the file has", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({{"lr", "0.5"}});
  {
    StoreWriter writer(path);
    writer.add_runs({a});
  }
  {
    SQLite::Database old(path, SQLite::OPEN_READWRITE);
    old.exec(
        "DROP VIEW v_run; DROP VIEW v_trial; CREATE VIEW v_run AS SELECT 1 AS one;"
        "UPDATE meta SET value = 'older' WHERE key = 'views'");
  }
  const std::string before = read_file(path);
  {
    const StoreReader reader(path);
    CHECK(one(reader, "SELECT lr FROM v_run") == "0.5");
    CHECK(one(reader, "SELECT count(*) FROM v_trial") == "0");
    const QueryResult columns = reader.query("SELECT name FROM pragma_table_info('v_run')");
    CHECK(columns.rows.size() == run_columns().size());
  }
  CHECK(read_file(path) == before);
}

TEST_CASE("a reader reads while the writer writes, and does not hold it up", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({});
  StoreWriter writer(path);
  writer.add_runs({a});
  SQLite::Database other(path, SQLite::OPEN_READONLY);
  SQLite::Statement open_read(other, "SELECT count(*) FROM metric UNION ALL SELECT 1");
  REQUIRE(open_read.executeStep());  // holds its snapshot during the writes
  for (int i = 0; i < 50; ++i) writer.insert({test::metric(a.id, i, i, "", "x", i)});
  CHECK(open_read.getColumn(0).getInt() == 0);
  const StoreReader reader(path);
  CHECK(one(reader, "SELECT count(*) FROM metric") == "50");
  CHECK_THROWS_WITH(reader.query("DELETE FROM metric"), Catch::Contains("changes nothing"));
}

TEST_CASE("a closed database is one plain file", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  { StoreWriter writer(path); }
  CHECK_THROWS_AS(file_size(path + "-wal"), DataError);
  CHECK_THROWS_AS(file_size(path + "-shm"), DataError);
}

TEST_CASE("a newer, a foreign and a broken file are refused and left as they are", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  std::string says;
  SECTION("newer") {
    { StoreWriter writer(path); }
    SQLite::Database(path, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 99");
    says = "99";
  }
  SECTION("foreign") {
    SQLite::Database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
        .exec("CREATE TABLE mine (a)");
    says = "another program";
  }
  SECTION("broken") {
    std::ofstream(path) << std::string(5000, 'x');
    says = "not an SQLite database";
  }
  const std::string before = read_file(path);
  CHECK_THROWS_WITH(StoreWriter(path), Catch::Contains(says) && Catch::Contains(path));
  CHECK_THROWS_WITH(StoreReader(path), Catch::Contains(says) && Catch::Contains(path));
  CHECK(read_file(path) == before);
}

TEST_CASE("missing files and folders are named with the remedy", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(StoreReader(folder / "none.sqlite"),
                    Catch::Contains("none.sqlite") && Catch::Contains("tandem run"));
  CHECK_THROWS_WITH(StoreWriter(folder / "no/r.sqlite"),
                    Catch::Contains("does not exist") && Catch::Contains("--db"));
  std::filesystem::create_directory(folder / "results");
  CHECK_THROWS_WITH(StoreReader(folder / "results"), Catch::Contains("is a folder"));
  CHECK_THROWS_WITH(StoreWriter(folder / "results"), Catch::Contains("is a folder"));
  CHECK_FALSE(std::filesystem::exists(folder / "results.lock"));
  std::ofstream(folder / "empty.sqlite").flush();
  CHECK_THROWS_WITH(StoreReader(folder / "empty.sqlite"), Catch::Contains("is empty"));
  CHECK_NOTHROW(StoreWriter(folder / "empty.sqlite"));
}

TEST_CASE("a file of an older version is brought forward, whole or not at all", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  std::vector<EmbeddedFile> files = migration_files(embedded_sql());
  REQUIRE(files.size() == static_cast<std::size_t>(kStoreVersion));
  {
    StoreWriter writer(path);
    writer.add_runs({make_run({})});
  }
  SQLite::Database db(path, SQLite::OPEN_READWRITE);
  std::vector<EmbeddedFile> broken = files;
  broken.push_back({"src/store/0006_x.sql", "CREATE TABLE added (a INTEGER) STRICT; SELECT nope;"});
  CHECK_THROWS(migrate(db, path, broken));
  CHECK_FALSE(db.tableExists("added"));
  CHECK(db.execAndGet("PRAGMA user_version").getInt() == kStoreVersion);
  files.push_back({"src/store/0006_x.sql", "CREATE TABLE added (a INTEGER) STRICT;"});
  migrate(db, path, files);
  migrate(db, path, files);
  CHECK(db.tableExists("added"));
  CHECK(db.execAndGet("PRAGMA user_version").getInt() == kStoreVersion + 1);
  CHECK(db.execAndGet("SELECT count(*) FROM run").getInt() == 1);
  CHECK_THROWS_WITH(migration_files({{"src/store/0002_x.sql", ""}}), Catch::Contains("0001"));
}

TEST_CASE("the storage of a run is kept from when it was first planned", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = make_run({});
  StoreWriter writer(path);
  writer.add_runs({run});
  CHECK_FALSE(StoreReader(path).find_run(run.id).storage.has_value());
  writer.keep_storage({run.id}, "sparse,masked");
  CHECK(StoreReader(path).find_run(run.id).storage == "sparse,masked");
  writer.keep_storage({run.id}, "");  // planned again before it began, on another device
  CHECK(StoreReader(path).find_run(run.id).storage == "");
  writer.begin_attempt(run.id);
  writer.keep_storage({run.id}, "sparse,masked");
  CHECK(StoreReader(path).find_run(run.id).storage == "");
  CHECK_THROWS_AS(writer.keep_storage({"absent"}, ""), StoreError);
}

TEST_CASE("a run that began in version 2 keeps the storage that it ran with", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  std::vector<EmbeddedFile> files = migration_files(embedded_sql());
  files.resize(2);
  {
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate(db, path, files);
    db.exec(
        "INSERT INTO run (key, id, canonical, attempt) VALUES (1, 'a', 'c', 1), (2, 'b', 'c', 2), "
        "(3, 'c', 'c', 0), (4, 'd', 'c', 1), (5, 'e', 'c', 1);"
        "INSERT INTO config_value VALUES (1, 'storage', 'auto'), (4, 'storage', 'sparse');"
        "INSERT INTO provenance VALUES ('p', '{\"storage\":\"sparse,masked\"}'), "
        "('q', '{\"storage\":\"masked\"}'), ('r', '{}');"
        "INSERT INTO run_provenance VALUES (1, 0, 'p', 1), (2, 0, 'p', 1), (2, 0, 'q', 2), "
        "(4, 0, 'q', 1), (5, 0, 'r', 1);");
  }
  StoreWriter brought_forward(path);
  const QueryResult found =
      StoreReader(path).query("SELECT coalesce(storage, 'NULL') FROM run ORDER BY key");
  std::vector<std::string> storages;
  for (const auto& row : found.rows) storages.push_back(row[0]);
  CHECK(storages == std::vector<std::string>{"sparse,masked", "", "NULL", "NULL", "NULL"});
}

TEST_CASE("views are made anew when their text changes", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  { StoreWriter writer(path); }
  SQLite::Database db(path, SQLite::OPEN_READWRITE);
  refresh_views(db, "CREATE VIEW v_only AS SELECT 1 AS a");
  CHECK_FALSE(db.execAndGet("SELECT count(*) FROM sqlite_schema WHERE name = 'v_run'").getInt());
  refresh_views(db, views_sql(db));
  CHECK(db.execAndGet("SELECT count(*) FROM sqlite_schema WHERE name = 'v_run'").getInt() == 1);
  CHECK(db.execAndGet("SELECT count(*) FROM sqlite_schema WHERE name = 'v_only'").getInt() == 0);
}

// This runs in a child, because a limit on the size of files holds for the whole process.
TEST_CASE("a full disk is a StoreError that loses nothing", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord a = make_run({});
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      ::signal(SIGXFSZ, SIG_IGN);
      StoreWriter writer(path);
      writer.add_runs({a});
      writer.insert({test::metric(a.id, 0, 0, "", "x", 0)});
      const rlimit small{300000, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &small);
      std::vector<Row> many;
      for (int i = 0; i < 100000; ++i) many.push_back(test::metric(a.id, i, i, "", "x", i));
      try {
        writer.insert(many);
      } catch (const StoreError& e) {
        const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
        ::setrlimit(RLIMIT_FSIZE, &none);
        const bool kept = one(StoreReader(path), "SELECT count(*) FROM metric") == "1";
        writer.insert(many);
        const bool whole = one(StoreReader(path), "SELECT count(*) FROM metric") == "100000";
        const bool told = std::string(e.what()).find("acknowledged") != std::string::npos;
        code = kept && whole && told ? 0 : 2;
      }
    } catch (const std::exception&) {
      code = 3;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a query takes one statement and its parameters", "[unit]") {
  const TemporaryFolder folder;
  { StoreWriter writer(folder / "r.sqlite"); }
  const StoreReader reader(folder / "r.sqlite");
  CHECK(reader.query("SELECT ?1 || ?2 AS t;  -- done\n", {"a", "b"}).rows[0][0] == "ab");
  CHECK(reader.query("SELECT 0.1, 3, x'ff', NULL").rows[0] ==
        std::vector<std::string>{"0.1", "3", "ff", ""});
  CHECK(reader.query("SELECT NULL").null[0][0]);
  for (const char* wrong : {"SELECT 1; SELECT 2", "  ", "SELECT nope FROM v_run", "SELEC 1",
                            "SELECT json('{')", "SELECT zeroblob(2000000000)",
                            "WITH a AS (SELECT 1) DELETE FROM run", "PRAGMA user_version = 5"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(reader.query(wrong), ConfigError);
  }
  CHECK_THROWS_AS(reader.query("SELECT ?", {"a", "b"}), ConfigError);
  CHECK_THROWS_WITH(reader.query("SELECT nope FROM v_run"), Catch::Contains("nope"));
  CHECK_THROWS_AS(reader.runs_of_grid("g"), ConfigError);
  CHECK_THROWS_AS(reader.find_run("ff"), ConfigError);
}

TEST_CASE("a run is found by the first digits of its id", "[unit]") {
  const TemporaryFolder folder;
  std::vector<RunRecord> runs;
  for (int i = 0; i < 40; ++i) runs.push_back(make_run({{"seed", std::to_string(i)}}));
  StoreWriter writer(folder / "r.sqlite");
  writer.add_runs(runs);
  const StoreReader reader(folder / "r.sqlite");
  for (const RunRecord& r : runs) CHECK(reader.find_run(r.id.substr(0, 16)).id == r.id);
  const std::string first = runs[0].id.substr(0, 1);
  std::size_t same = 0;
  for (const RunRecord& r : runs) same += r.id.substr(0, 1) == first;
  if (same > 1) CHECK_THROWS_WITH(reader.find_run(first), Catch::Contains("several"));
  CHECK_THROWS_WITH(reader.find_run("ffffffffffffffff"), Catch::Contains("tandem query"));
  CHECK_THROWS_WITH(reader.find_run("xyz"), Catch::Contains("no run id"));
}

TEST_CASE("trials and published numbers replace their like", "[unit]") {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "r.sqlite");
  TuningRecord t{"g", "weights=rigl", "lr=0.1", 1, "ab", 0.9, false};
  const TuningRecord other{"g", "weights=set", "lr=0.1", 1, "cd", 0.8, true, "sparse", 2, 24};
  writer.add_tuning({t, {"g", "weights=rigl", "lr=0.3", 1, "ef", 0.95, true}, other});
  t.chosen = true;
  writer.add_tuning({t});  // of rigl alone, whose older trials go
  writer.add_tuning_plan({"g",
                          8,
                          1,
                          "lr 0.1..1",
                          "weights",
                          "accuracy",
                          {{"x", "weights=rigl"}, {"y", "weights=set"}}});
  writer.add_tuning_plan({"g",
                          16,
                          2,
                          "lr 0.1..1",
                          "weights",
                          "accuracy",
                          {{"x", "weights=set"}, {"y", "weights=rigl"}}});
  writer.add_references({{"1911.11134", "rigl", "ResNet-50 90%", "accuracy", 0.73, 0, "", 0, ""}});
  const StoreReader reader(folder / "r.sqlite");
  CHECK(one(reader, "SELECT chosen FROM tuning WHERE method = 'weights=rigl'") == "1");
  CHECK(one(reader, "SELECT count(*) FROM tuning") == "2");
  CHECK(one(reader, "SELECT readout || round || trials FROM v_tuning WHERE run = 'cd'") ==
        "sparse224");
  CHECK(one(reader, "SELECT trials || ' ' || seeds FROM tuning_plan") == "16 2");
  CHECK(one(reader, "SELECT method FROM tuned_run WHERE run_id = 'x'") == "weights=set");
  writer.add_tuning_plan({"g", 16, 2, "lr 0.1..1", "weights", "accuracy", {{"z", "weights=set"}}});
  CHECK(one(reader, "SELECT run_id FROM tuned_run") == "z");  // the plan is all of the grid's
  CHECK(one(reader, "SELECT method FROM tuning") == "weights=set");
  CHECK(one(reader, "SELECT value FROM reference") == "0.73");
  CHECK(one(reader, "SELECT n FROM reference") == "NULL");
}

TEST_CASE("the facts name the version and the journal", "[unit]") {
  const StoreFacts facts = store_facts();
  CHECK(facts.sqlite_version.substr(0, 2) == "3.");
  CHECK(facts.journal_mode.find("wal") != std::string::npos);
  CHECK_FALSE(facts.note.empty());
  CHECK(journal_mode_for("/proc/no such folder") == "truncate");
}

}  // namespace
}  // namespace tandem::test::store_writer_unit
