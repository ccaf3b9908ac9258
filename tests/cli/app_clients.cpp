// The views as other programs read them: pandas, DuckDB, Datasette and R, each where it is
// installed. What they say is held against the numbers that the writer was given.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "core/files.h"
#include "support/run_program.h"
#include "support/skip.h"
#include "unit/store_fixture.h"

namespace tandem::test::app_clients_cli {
namespace {

using Catch::Contains;

bool runs(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
}

std::string output_of(const TemporaryFolder& folder, const std::string& command) {
  const std::string out = folder / "out.txt";
  const int code = std::system((command + " > " + out + " 2>&1").c_str());
  const std::string text = read_file(out);
  INFO(text);
  REQUIRE(code == 0);
  return text;
}

// Ten runs: half of them dense, whose drop_fraction is NULL; accuracies 0.1, 0.2, ... 1. The first
// rows of each column are whole numbers or NULL, which misleads a program that guesses types.
std::string fill(const TemporaryFolder& folder) {
  const std::string path = folder / "r.sqlite";
  StoreWriter writer(path);
  for (int i = 1; i <= 10; ++i) {
    const bool dense = i <= 5;
    Values values = {{"seed", std::to_string(i)},
                     {"weights", dense ? "dense" : "rigl"},
                     {"density", i == 1 ? "1" : "0.1"},
                     {"final", "true"}};
    if (!dense) values.emplace_back("drop_fraction", "0.3");
    const RunRecord run = make_run(values);
    writer.add_runs({run});
    writer.begin_attempt(run.id);
    writer.insert({eval(run.id, 0, 1, 1, i, 10), metric(run.id, 1, 10, "", "gap", i == 1 ? 1 : 0.5),
                   state(run.id, 2, "done", 100)});
  }
  return path;
}

}  // namespace

TEST_CASE("pandas reads the views", "[cli]") {
  if (!runs("python3 -c 'import pandas'")) return skip("python3 has no pandas");
  const TemporaryFolder folder;
  const std::string path = fill(folder);
  atomic_write(folder / "s.py", R"py(
import sqlite3, sys, pandas as pd
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
e = pd.read_sql("SELECT * FROM v_eval", db)
r = pd.read_sql("SELECT * FROM v_run", db)
print("mean", round(e.accuracy.mean(), 12), e.accuracy.dtype, e.n_correct.dtype, r.seed.dtype)
print("null", int(r.drop_fraction.isna().sum()), r.drop_fraction.dtype, r.final.dtype)
print("rows", len(r), len(e), len(pd.read_sql("SELECT * FROM v_metric", db)))
)py");
  CHECK_THAT(output_of(folder, "python3 " + (folder / "s.py") + " " + path),
             Contains("mean 0.55 float64 int64 int64") && Contains("null 5 float64 int64") &&
                 Contains("rows 10 10 10"));
}

TEST_CASE("DuckDB reads the views with their types, and an export without its extension", "[cli]") {
  if (!runs("python3 -c 'import duckdb'")) return skip("python3 has no duckdb");
  const TemporaryFolder folder;
  const std::string path = fill(folder);
  const std::string csv = folder / "rows.csv";
  REQUIRE(run_program({"db", "export", "--out", csv, "--db", path}).exit_code == 0);
  atomic_write(folder / "export.py", R"py(
import duckdb, sys
rows = "read_csv('" + sys.argv[1] + "')"
print(duckdb.sql("SELECT avg(value), count(*) FROM " + rows + " WHERE measure = 'accuracy'").fetchall())
print(duckdb.sql("DESCRIBE SELECT value, step FROM " + rows).fetchall())
)py");
  CHECK_THAT(output_of(folder, "python3 " + (folder / "export.py") + " " + csv),
             Contains("(0.55, 10)") && Contains("'DOUBLE'") && Contains("'BIGINT'"));
  // Its SQLite reader is an extension of its own.
  const std::string load = R"py(
import duckdb
try:
    from duckdb_extensions import import_extension
    import_extension("sqlite_scanner")
except ImportError:
    pass
duckdb.sql("LOAD sqlite_scanner")
)py";
  atomic_write(folder / "load.py", load);
  if (!runs("python3 " + (folder / "load.py"))) return skip("DuckDB has no SQLite extension here");
  atomic_write(folder / "s.py", load + R"py(
import sys
duckdb.sql("ATTACH '" + sys.argv[1] + "' AS t (TYPE sqlite, READ_ONLY)")
print(duckdb.sql("SELECT avg(accuracy), avg(loss), avg(density) FROM t.v_eval").fetchall())
print(duckdb.sql("SELECT count(*), count(drop_fraction), sum(final) FROM t.v_run").fetchall())
print(duckdb.sql("SELECT avg(value) FROM t.v_metric WHERE name = 'gap'").fetchall())
types = duckdb.sql("DESCRIBE SELECT accuracy, n_correct, density, drop_fraction, final, weights FROM t.v_eval").fetchall()
print([t[1] for t in types])
duckdb.sql("COPY (SELECT * FROM t.v_run) TO '" + sys.argv[2] + "' (FORMAT parquet)")
print(duckdb.sql("SELECT count(*), avg(density) FROM '" + sys.argv[2] + "'").fetchall())
)py");
  CHECK_THAT(output_of(folder, "python3 " + (folder / "s.py") + " " + path + " " +
                                   (folder / "runs.parquet")),
             Contains("(0.55, 0.5, 0.19") && Contains("(10, 5, 10") && Contains("(0.55,)") &&
                 Contains("['DOUBLE', 'BIGINT', 'DOUBLE', 'DOUBLE', 'BIGINT', 'VARCHAR']") &&
                 Contains("(10, 0.19"));
}

TEST_CASE("Datasette serves the views", "[cli]") {
  if (!runs("command -v datasette")) return skip("datasette is not installed");
  const TemporaryFolder folder;
  const std::string path = fill(folder);
  const std::string text = output_of(
      folder, "datasette " + path +
                  " --get '/r.json?sql=select+avg(accuracy)+as+a,count(*)+as+n+from+v_eval'");
  CHECK_THAT(text, Contains("0.55") && Contains("10"));
}

TEST_CASE("R reads the views", "[cli]") {
  if (!runs("Rscript -e 'library(DBI); library(RSQLite)'")) return skip("R has no RSQLite");
  const TemporaryFolder folder;
  const std::string path = fill(folder);
  atomic_write(folder / "s.R", R"r(
library(DBI)
db <- dbConnect(RSQLite::SQLite(), commandArgs(TRUE)[1], flags = RSQLite::SQLITE_RO)
e <- dbGetQuery(db, "SELECT * FROM v_eval")
cat("mean", mean(e$accuracy), class(e$accuracy), class(e$n_correct), sum(is.na(e$drop_fraction)))
)r");
  CHECK_THAT(output_of(folder, "Rscript " + (folder / "s.R") + " " + path),
             Contains("mean 0.55 numeric integer 5"));
}

}  // namespace tandem::test::app_clients_cli
