// `tandem db check`, `tandem list columns`, and what a query says of whom it asked.
#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "core/files.h"
#include "core/text.h"
#include "support/run_program.h"
#include "unit/store_fixture.h"

namespace tandem::test::app_db_cli {

using Catch::Contains;

TEST_CASE("a database is verified, and what is wrong with it is said", "[cli]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = make_run({});
  {
    StoreWriter writer(path);
    writer.add_runs({run});
    writer.insert({eval(run.id, 0, 1, 1, 5, 10), {run.id, 1, DigestRow{100, {"w", "b"}, {1, 2}}}});
  }
  const ProgramResult whole = run_program({"db", "check", "--db", path});
  CHECK(whole.exit_code == 0);
  CHECK_THAT(whole.output, Contains("1 runs") && Contains("no faults"));
  {
    SQLite::Database db(path, SQLite::OPEN_READWRITE);
    db.exec(
        "UPDATE result SET n_correct = 6; UPDATE run SET last_sequence = -1;"
        "INSERT INTO eval_bits VALUES (77, 0, x'01'); DELETE FROM config;"
        "UPDATE run SET canonical = 'other'; UPDATE digest SET digests = x'0102030405060708';");
  }
  const ProgramResult broken = run_program({"db", "check", "--db", path});
  CHECK(broken.exit_code == 4);
  CHECK_THAT(broken.output, Contains("other final results") && Contains("after the last one") &&
                                Contains("points at nothing") && Contains("no typed config") &&
                                Contains("another config than its id") &&
                                Contains("step 100 has not one digest for each") &&
                                Contains("6 faults"));
  const ProgramResult absent = run_program({"db", "check", "--db", folder / "none.sqlite"});
  CHECK(absent.exit_code == 4);
  CHECK_FALSE(path_exists(folder / "none.sqlite"));
  CHECK(run_program({"db", "chek"}).exit_code == 2);
}

TEST_CASE("the data dictionary is listed, and a query says whom it asked", "[cli]") {
  const ProgramResult columns = run_program({"list", "columns"});
  CHECK(columns.exit_code == 0);
  CHECK_THAT(columns.output, Contains("density") && Contains("DOUBLE") && Contains("bwt_gem"));
  // The page is what the program prints: `./tandem list columns`.
  CHECK_THAT(read_file(std::string(TANDEM_SOURCE_DIR) + "/docs/columns.md"),
             Contains("```text\n" + columns.output + "```"));
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = make_run({}), other = make_run({{"seed", "2"}});
  {
    StoreWriter writer(path);
    writer.add_runs({other, run});
    writer.add_grid("g", "g.ini", "", {run.id});
  }
  const ProgramResult asked = run_program({"query", "runs", "--db", path, "--format", "jsonl"});
  CHECK(asked.exit_code == 0);
  CHECK_THAT(asked.errors, Contains("grid g: 1 of 2 stored runs"));
  const ProgramResult both =
      run_program({"query", "runs", "--db", path, "--all", "--set", "seed=2"});
  CHECK_THAT(both.errors, Contains("all runs where --set holds: 1 of 2"));
  CHECK(run_program({"query", "runs", "--db", path, "--all", "--grid", "g"}).exit_code == 2);
}

// Two databases with one finished run each, and one that failed.
void fill_two(const std::string& a, const std::string& b) {
  const RunRecord first = make_run({{"note", "comma, \"quote\""}}),
                  second = make_run({{"seed", "2"}}), failed = make_run({{"seed", "3"}});
  StoreWriter left(a), right(b);
  left.add_grid("g", "g.ini", "seed = 1..2", {first.id});
  right.add_grid("g", "g.ini", "seed = 1..2", {second.id, failed.id});
  left.add_runs({first});
  right.add_runs({second, failed});
  for (auto [writer, run] : {std::pair(&left, &first), std::pair(&right, &second)}) {
    writer->begin_attempt(run->id);
    writer->insert({eval(run->id, 0, 1, 1, 3, 8), metric(run->id, 1, 10, "", "gap", 0.1),
                    metric(run->id, 2, 20, "", "gap", 0.30000000000000004),
                    state(run->id, 3, "done", 100)});
  }
  right.set_state(failed.id, "failed", "out of memory");
}

TEST_CASE("databases are merged, shared, exported and pruned from the command line", "[cli]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite", all = folder / "all.sqlite",
                    shared = folder / "runs.sql.xz";
  fill_two(a, b);
  const ProgramResult merged = run_program({"db", "merge", a, b, "--db", all});
  CHECK(merged.exit_code == 0);
  CHECK_THAT(merged.output, Contains("1 added") && Contains("2 runs: 2 added"));
  CHECK_THAT(run_program({"db", "merge", a, b, "--db", all}).output, Contains("0 added"));
  CHECK(run_program({"db", "check", "--db", all}).exit_code == 0);

  const ProgramResult rows = run_program({"db", "export", "--db", all});
  CHECK_THAT(rows.output,
             Contains("run,sequence,step,stage,task,split,readout,layer,measure,value") &&
                 Contains(",accuracy,0.375\n") && Contains("gap,0.30000000000000004\n"));
  const ProgramResult wide = run_program({"db", "export", "--format", "wide", "--db", all});
  const std::vector<std::string> lines = split(wide.output, '\n');
  REQUIRE(lines.size() == 5);  // a head, three runs, the end
  CHECK_THAT(lines[0], Contains(",grids,") && Contains("accuracy validation"));
  const auto commas = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  CHECK(commas(lines[1]) == commas(lines[0]));
  const ProgramResult json = run_program({"db", "export", "--format=json", "--db", all});
  CHECK_THAT(json.output, Contains("\"accuracy\"") && Contains("\"gap\":0.30000000000000004") &&
                              Contains("\"density\":0.1,") && Contains("\"grids\":[\"g\"]"));
  const std::string sql = folder / "all.sql";
  CHECK(run_program({"db", "export", "--format=sql", "--out", sql, "--db", all}).exit_code == 0);
  const std::string again = folder / "again.sqlite";
  CHECK(run_program({"db", "merge", sql, "--db", again}).exit_code == 0);
  const auto sorted_rows = [](const std::string& database) {
    auto sorted = split(run_program({"db", "export", "--db", database}).output, '\n');
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  };
  CHECK(sorted_rows(again) == sorted_rows(all));

  CHECK(run_program({"db", "share", "--grid", "g", "--out", shared, "--db", all}).exit_code == 0);
  const std::string back = folder / "back.sqlite";
  CHECK(run_program({"db", "merge", shared, "--db", back}).exit_code == 0);
  CHECK(StoreReader(back).runs().size() == 2);

  const std::string weights = folder / ("checkpoints/all.sqlite/final/" + std::string(64, 'a'));
  ensure_folder(weights);
  atomic_write(weights + "/w.safetensors", std::string(5000, 'x'));
  const ProgramResult dry = run_program({"db", "prune", "--dry-run", "--db", all});
  CHECK_THAT(dry.output, Contains("failed runs would go: 1") && Contains("5.0 kB"));
  CHECK(path_exists(weights));
  CHECK(run_program({"db", "prune", "--db", all}).exit_code == 0);
  CHECK_FALSE(path_exists(weights));
  CHECK(StoreReader(all).runs().size() == 2);
}

TEST_CASE("weights of a result that gave way are set aside", "[cli]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite";
  const RunRecord first = make_run({}), second = make_run({{"seed", "2"}});
  for (const auto& [path, step] : {std::pair(a, 100), std::pair(b, 200)}) {
    StoreWriter writer(path);
    writer.add_runs({first, second});
    for (const RunRecord& run : {first, second}) {
      writer.begin_attempt(run.id);
      writer.insert(
          {eval(run.id, 0, 1, 1, 3, 8), state(run.id, 1, "done", run.id == first.id ? step : 100)});
    }
  }
  const std::string weights = folder / "checkpoints/a.sqlite/final/";
  for (const RunRecord& run : {first, second}) ensure_folder(weights + run.id);
  const ProgramResult merged = run_program({"db", "merge", b, "--db", a});
  CHECK(merged.exit_code == 0);
  CHECK_THAT(merged.errors, Contains("1 run has the numbers of another training"));
  CHECK_FALSE(path_exists(weights + first.id));
  CHECK(path_exists(weights + first.id + ".replaced"));
  CHECK(path_exists(weights + second.id));
  CHECK_THAT(run_program({"db", "prune", "--db", a}).output, Contains("final weights removed: 1"));
  CHECK(path_exists(weights + second.id));
}

TEST_CASE("wrong words for a database's care are refused, and nothing is written", "[cli]") {
  const TemporaryFolder folder;
  const std::string a = folder / "a.sqlite", b = folder / "b.sqlite", none = folder / "none.sqlite";
  fill_two(a, b);
  const auto refused = [&](const std::vector<std::string>& words, int code,
                           const std::string& text) {
    std::vector<std::string> all = {"db"};
    all.insert(all.end(), words.begin(), words.end());
    const ProgramResult result = run_program(all);
    CHECK(result.exit_code == code);
    CHECK_THAT(result.errors, Contains(text));
  };
  refused({}, 2, "merge");
  refused({"merge", "--db", a}, 2, "FILE");
  refused({"merge", folder / "gone.sqlite", "--db", none}, 4, "gone.sqlite");
  CHECK_FALSE(path_exists(none));
  refused({"merge", a, "--db", a}, 2, "itself");
  refused({"merge", b, "--rename", "g", "--db", a}, 2, "OLD=NEW");
  refused({"merge", b, "--out", "x", "--db", a}, 2, "is not for tandem db merge");
  refused({"export", "--grid", "h", "--db", a}, 2, "h");
  refused({"export", a}, 2, "--db names the database");
  refused({"share", "--out", folder / "x.sql", "--db", a}, 2, ".sql.xz");
  refused({"share", "--series", "gab", "--out", folder / "x.sql.xz", "--db", a}, 2, "gap");
  CHECK_FALSE(path_exists(folder / "x.sql.xz"));
  atomic_write(folder / "bad.sql.xz", "no xz");
  refused({"merge", folder / "bad.sql.xz", "--db", a}, 3, "bad.sql.xz");
  CHECK(StoreReader(a).runs().size() == 1);
  refused({"merge", folder / "bad.sql.xz", "--db", none}, 3, "bad.sql.xz");
  refused({"merge", a, "--grid", "h", "--db", none}, 2, "h");
  CHECK_FALSE(path_exists(none));
  CHECK_FALSE(path_exists(none + ".lock"));
}

}  // namespace tandem::test::app_db_cli
