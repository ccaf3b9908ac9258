// A file of the version before typed configs and read-outs is brought forward with all of its rows,
// and reads as one that was written by this version.
#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>

#include "core/files.h"
#include "store/schema.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_migration_unit {
namespace {

using Catch::Contains;
using Lines = std::vector<std::string>;

Lines lines(const StoreReader& reader, const std::string& sql) {
  Lines all;
  for (const auto& row : reader.query(sql).rows) {
    std::string line;
    for (const std::string& cell : row) line += (line.empty() ? "" : " ") + cell;
    all.push_back(line);
  }
  return all;
}

// Three runs; the second evaluated at several steps and tasks of its last stage.
std::string old_file(const TemporaryFolder& folder) {
  const std::string path = folder / "old.sqlite";
  std::vector<EmbeddedFile> files = migration_files(embedded_sql());
  files.resize(3);
  SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  migrate(db, path, files);
  db.exec("CREATE VIEW v_eval AS SELECT attention_readout FROM eval");  // it had views of its own
  const Values changes[] = {{}, {{"seed", "2"}, {"final", "true"}}, {{"lr", "0.5"}}};
  int key = 0;
  for (const Values& change : changes) {
    const RunRecord run = make_run(change);
    ++key;
    SQLite::Statement add(db,
                          "INSERT INTO run (key, id, canonical, data, weights, seed, state) VALUES "
                          "(?, ?, ?, 'fashion_mnist', 'dense', ?, 'done')");
    add.bind(1, key);
    add.bind(2, run.id);
    add.bind(3, run.canonical);
    add.bind(4, key == 2 ? 2 : 1);
    add.exec();
  }
  db.exec(
      "INSERT INTO eval VALUES"
      "(1, 0, 0, 0, 1, 'none', NULL, 'full', NULL, 0, 'validation', 10, 100, 2.5, NULL),"
      "(1, 1, 1, 50, 1, 'none', NULL, 'full', NULL, 0, 'validation', 80, 100, 0.5, x'01fe'),"
      "(1, 2, 1, 50, 1, 'none', NULL, 'sparse', 0.1, 0, 'validation', 70, 100, 0.75, NULL),"
      "(2, 0, 1, 40, 1, 'sparse', 4, 'full', NULL, 1, 'test', 50, 60, 1.0, NULL),"
      "(2, 1, 2, 70, 1, 'sparse', 4, 'full', NULL, 1, 'test', 1, 60, 9.0, NULL),"
      "(2, 2, 2, 90, 1, 'sparse', 4, 'full', NULL, 1, 'test', 30, 60, 1.5, NULL),"
      "(2, 3, 2, 90, 2, 'sparse', 4, 'full', NULL, 1, 'test', 10, 20, NULL, NULL);"
      "INSERT INTO provenance VALUES ('p', '{\"device\":\"cpu\",\"threads\":1}'), "
      "('q', '{\"device\":\"cuda\",\"threads\":2}');"
      "INSERT INTO run_provenance VALUES (1, 0, 'p', 1), (2, 0, 'p', 1), (2, 0, 'q', 2);"
      "INSERT INTO grid VALUES ('first', 'first.ini', ''), ('second', 'second.ini', '');"
      "INSERT INTO grid_run SELECT 'second', id, 0 FROM run WHERE key = 2;"
      "INSERT INTO grid_run SELECT 'first', id, 0 FROM run WHERE key = 1;");
  return path;
}

}  // namespace

TEST_CASE("version 3 is brought forward with its rows", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = old_file(folder);
  CHECK_THROWS_WITH(StoreReader(path), Contains("schema version 3"));
  { StoreWriter brought_forward(path); }
  const StoreReader reader(path);
  CHECK(lines(reader, "SELECT identity FROM readout ORDER BY key") ==
        Lines{"attention=none weights=full", "attention=none weights=sparse:0.1:density",
              "attention=sparse:4:blocks weights=full masked"});
  CHECK(lines(reader, "SELECT run, sequence, step, n_correct FROM eval ORDER BY run, sequence") ==
        Lines{"1 0 0 10", "1 1 50 80", "1 2 50 70", "2 0 40 50", "2 1 70 1", "2 2 90 30",
              "2 3 90 10"});
  CHECK(lines(reader, "SELECT run, sequence, bits FROM eval_bits") == Lines{"1 1 01fe"});
  // The last step of the last stage, pooled over tasks; a loss that was no number leaves none.
  CHECK(lines(reader,
              "SELECT seed, weights_readout, split, e.stage, e.step, round(accuracy, 4), loss FROM "
              "v_result e JOIN v_run USING (run) ORDER BY 1, 2") ==
        Lines{"1 full validation 1 50 0.8 0.5", "1 sparse validation 1 50 0.7 0.75",
              "2 full test 2 90 0.5 "});
  CHECK(lines(reader, "SELECT seed, device, threads FROM v_run ORDER BY lr, seed") ==
        Lines{"1 cpu 1", "2 cuda 2", "1  "});
  CHECK(reader.last_grid()->name == "second");
}

TEST_CASE("version 4 is brought forward, and has no digests yet", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "old.sqlite";
  const RunRecord run = make_run({});
  {
    std::vector<EmbeddedFile> files = migration_files(embedded_sql());
    files.resize(4);
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate(db, path, files);
    CHECK_FALSE(db.tableExists("digest"));
    SQLite::Statement add(db, "INSERT INTO run (key, id, canonical) VALUES (1, ?, ?)");
    add.bind(1, run.id);
    add.bind(2, run.canonical);
    add.exec();
    db.exec(
        "INSERT INTO config (run) VALUES (1);"
        "INSERT INTO layer_name VALUES (1, 'layer0');"
        "INSERT INTO topology_update VALUES (1, 0, 50, 1, 9, 2, 2, '0123456789abcdef');"
        "UPDATE run SET last_sequence = 0");
  }
  CHECK_THROWS_WITH(StoreReader(path), Contains("schema version 4"));
  StoreWriter writer(path);
  CHECK(writer.faults().empty());
  const StoreReader reader(path);
  CHECK(lines(reader, "SELECT step, mask_hash FROM v_topology") == Lines{"50 0123456789abcdef"});
  CHECK(lines(reader, "SELECT * FROM v_digest").empty());
  writer.insert({{run.id, 1, DigestRow{50, {"layer0.weight"}, {255}}}});
  CHECK(lines(reader, "SELECT step, tensor, digest FROM v_digest") ==
        Lines{"50 layer0.weight 00000000000000ff"});
}

TEST_CASE("configs are typed, and NULL where nothing reads an option", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = old_file(folder);
  { StoreWriter brought_forward(path); }
  const StoreReader reader(path);
  CHECK(
      lines(reader,
            "SELECT typeof(lr), lr, typeof(density), typeof(final), final FROM v_run ORDER BY lr, "
            "seed") ==
      Lines{"real 0 real integer 0", "real 0 real integer 1", "real 0.5 real integer 0"});
  CHECK(lines(reader, "SELECT final, typeof(lr) FROM v_run_1 ORDER BY lr, seed") ==
        Lines{"false real", "true real", "false real"});
  CHECK(lines(reader,
              "SELECT name, type FROM pragma_table_info('v_run') WHERE name IN ('lr', 'batch', "
              "'final', 'optimizer') ORDER BY name") ==
        Lines{"batch BIGINT", "final BIGINT", "lr DOUBLE", "optimizer TEXT"});
  // Runs that differ in their seeds, and in nothing else, share a setting.
  StoreWriter writer(path);
  const RunRecord again = make_run({{"seed", "9"}});
  writer.add_runs({again});
  CHECK(lines(StoreReader(path), "SELECT count(*) FROM v_setting GROUP BY setting ORDER BY 1") ==
        Lines{"1", "1", "2"});
  const auto values = values_of(StoreReader(path).find_run(again.id));
  CHECK(values.at("seed") == "9");
  CHECK(values.at("density") == "0.1");
}

TEST_CASE("the writer's results are those of the rows, however they come", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  const RunRecord run = make_run({});
  StoreWriter writer(path);
  writer.add_runs({run});
  const auto row = [&](std::int64_t sequence, std::int64_t stage, std::int64_t step,
                       std::int64_t task, std::int64_t correct) {
    Row made = eval(run.id, sequence, stage, task, correct, 10);
    std::get<EvalRow>(made.body).step = step;
    return made;
  };
  writer.insert({row(0, 0, 0, 1, 1), row(1, 1, 10, 1, 5), row(2, 1, 20, 1, 6)});
  writer.insert({row(2, 1, 20, 1, 6)});  // again: known
  const auto sums = [&] {
    return lines(StoreReader(path), "SELECT stage, step, n_correct, n_total, loss_sum FROM result");
  };
  CHECK(sums() == Lines{"1 20 6 10 5"});
  writer.insert({row(3, 2, 30, 1, 7), row(4, 2, 30, 2, 8), row(5, 1, 15, 1, 9)});
  CHECK(sums() == Lines{"2 30 15 20 10"});
  Row broken = row(6, 2, 30, 3, 1);
  std::get<EvalRow>(broken.body).loss = std::numeric_limits<double>::quiet_NaN();
  writer.insert({broken});
  CHECK(sums() == Lines{"2 30 16 30 "});
  writer.remove_runs({run.id});
  CHECK(sums().empty());
}

TEST_CASE("a reader of some runs sees these alone", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  StoreWriter writer(path);
  const RunRecord a = make_run({}), b = make_run({{"seed", "2"}});
  writer.add_runs({a, b});
  writer.insert({eval(a.id, 0, 1, 1, 5, 10),
                 metric(a.id, 1, 1, "", "x", 1),
                 eval(b.id, 0, 1, 1, 7, 10),
                 metric(b.id, 1, 1, "", "x", 2),
                 {a.id, 2, DigestRow{1, {"w"}, {1}}},
                 {b.id, 2, DigestRow{1, {"w"}, {2}}}});
  const StoreReader reader(path);
  const StoreReader only = reader.only({b.id, "absent"});
  for (const char* view :
       {"v_run", "v_eval", "v_metric", "v_digest", "v_result", "v_matrix", "v_setting"}) {
    CAPTURE(view);
    const std::string count = std::string("SELECT count(*) FROM ") + view;
    CHECK(lines(only, count) == Lines{"1"});
    CHECK(lines(reader, count) == Lines{"2"});
  }
  CHECK(lines(only, "SELECT value FROM v_metric") == Lines{"2"});
  CHECK(only.runs().size() == 1);
}

TEST_CASE("read-outs are told apart by each of their parts", "[unit]") {
  std::vector<ReadoutRecord> all(1);
  const auto add = [&](const auto& change) {
    all.emplace_back();
    change(all.back());
  };
  add([](ReadoutRecord& r) { r.attention = {"sparse", 4, "blocks"}; });
  add([](ReadoutRecord& r) { r.attention = {"sparse", 4, "top_p"}; });
  add([](ReadoutRecord& r) { r.attention = {"compressed", {}, ""}; });
  add([](ReadoutRecord& r) { r.weights = {"sparse", 0.1, "density"}; });
  add([](ReadoutRecord& r) { r.weights = {"sparse", 0.2, "density"}; });
  add([](ReadoutRecord& r) { r.masked = true; });
  add([](ReadoutRecord& r) { r.net = "task"; });
  add([](ReadoutRecord& r) { r.context = 2048; });
  add([](ReadoutRecord& r) { r.context = 2048, r.scaling = "yarn"; });
  add([](ReadoutRecord& r) { r.statistics = "batch"; });
  add([](ReadoutRecord& r) { r.condition = "distance=16"; });
  add([](ReadoutRecord& r) { r.condition = "distance=32"; });
  const TemporaryFolder folder;
  StoreWriter writer(folder / "r.sqlite");
  const RunRecord run = make_run({});
  writer.add_runs({run});
  std::vector<Row> rows;
  for (std::size_t i = 0; i < all.size(); ++i) {
    Row row = eval(run.id, static_cast<std::int64_t>(i), 1, 1, 5, 10);
    std::get<EvalRow>(row.body).readout = all[i];
    rows.push_back(decode_row(encode_row(row)));
    CHECK(std::get<EvalRow>(rows.back().body).readout == all[i]);
  }
  writer.insert(rows);
  const StoreReader reader(folder / "r.sqlite");
  CHECK(lines(reader, "SELECT count(*) FROM readout") == Lines{std::to_string(all.size())});
  CHECK(lines(reader, "SELECT count(*) FROM v_result") == Lines{std::to_string(all.size())});
  CHECK(lines(reader, "SELECT condition FROM v_result WHERE condition IS NOT NULL ORDER BY 1") ==
        Lines{"distance=16", "distance=32"});
}

}  // namespace tandem::test::store_migration_unit
