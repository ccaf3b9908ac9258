// `tandem db check`, `tandem list columns`, and what a query says of whom it asked.
#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>

#include "core/files.h"
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
    writer.insert({eval(run.id, 0, 1, 1, 5, 10)});
  }
  const ProgramResult whole = run_program({"db", "check", "--db", path});
  CHECK(whole.exit_code == 0);
  CHECK_THAT(whole.output, Contains("1 runs") && Contains("no faults"));
  {
    SQLite::Database db(path, SQLite::OPEN_READWRITE);
    db.exec(
        "UPDATE result SET n_correct = 6; UPDATE run SET last_sequence = -1;"
        "INSERT INTO eval_bits VALUES (77, 0, x'01'); DELETE FROM config;"
        "UPDATE run SET canonical = 'other';");
  }
  const ProgramResult broken = run_program({"db", "check", "--db", path});
  CHECK(broken.exit_code == 4);
  CHECK_THAT(broken.output, Contains("other final results") && Contains("after the last one") &&
                                Contains("points at nothing") && Contains("no typed config") &&
                                Contains("another config than its id") && Contains("5 faults"));
  const ProgramResult absent = run_program({"db", "check", "--db", folder / "none.sqlite"});
  CHECK(absent.exit_code == 4);
  CHECK_FALSE(path_exists(folder / "none.sqlite"));
  CHECK(run_program({"db", "chek"}).exit_code == 2);
}

TEST_CASE("the data dictionary is listed, and a query says whom it asked", "[cli]") {
  const ProgramResult columns = run_program({"list", "columns"});
  CHECK(columns.exit_code == 0);
  CHECK_THAT(columns.output, Contains("density") && Contains("DOUBLE") && Contains("bwt_gem"));
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

}  // namespace tandem::test::app_db_cli
