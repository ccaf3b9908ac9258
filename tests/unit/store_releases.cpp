// What earlier releases wrote is read by this one as they wrote it: each number is taken from the
// old file itself, by plain SQL on the tables of its time, and looked for in the views of today.
#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <string_view>

#include "config/option.h"
#include "core/hash.h"
#include "core/text.h"
#include "store/store.h"
#include "support/old_store.h"

namespace tandem::test::store_releases_unit {
namespace {

using Catch::Contains;
using Lines = std::vector<std::string>;

// The same rows, as tables of their time have them and as this version's views have them.
// {evaluations} stands for a table with a row for each evaluation and its read-out.
struct Asked {
  const char* what;
  const char* before;
  const char* after;
};

constexpr const char* kReadoutsApart =
    "(SELECT e.*, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget, "
    "o.masked, b.bits AS example_bits FROM eval e JOIN readout o ON o.key = e.readout LEFT JOIN "
    "eval_bits b ON b.run = e.run AND b.sequence = e.sequence)";

std::string as_before(const Asked& asked, int version) {
  constexpr std::string_view kMarker = "{evaluations}";
  std::string sql = asked.before;
  const std::string table = version < 4 ? "eval" : kReadoutsApart;
  for (std::size_t at = 0; (at = sql.find(kMarker, at)) != std::string::npos; at += table.size()) {
    sql.replace(at, kMarker.size(), table);
  }
  return sql;
}

constexpr const char* kRunRows =
    "SELECT id, canonical, weights, attention, scenario, strategy, model, data, seed, state, "
    "attempt, last_sequence, state_sequence, step, printf('%.17g', train_seconds), "
    "printf('%.17g', eval_seconds), printf('%.17g', probe_seconds), printf('%.17g', train_flops), "
    "printf('%.17g', inference_flops), message FROM run ORDER BY key";
constexpr const char* kGridRows =
    "SELECT g.name, g.file, g.text, m.position, m.run_id FROM grid g LEFT JOIN grid_run m ON "
    "m.grid = g.name ORDER BY 1, 4";
constexpr const char* kTuningRows =
    "SELECT grid, method, trial, seed, run_id, printf('%.17g', score), chosen FROM tuning ORDER BY "
    "1, 2, 3, 4";
constexpr const char* kProvenanceRows =
    "SELECT r.id, l.sequence, l.attempt, p.id, p.json FROM run_provenance l JOIN run r ON r.key = "
    "l.run JOIN provenance p ON p.id = l.provenance ORDER BY 1, 2, 4";
constexpr const char* kEventRows = "SELECT key, at, run, attempt, kind, message FROM event";

constexpr Asked kAsked[] = {
    {"runs", kRunRows, kRunRows},
    {"runs as the view has them",
     "SELECT id, weights, attention, scenario, strategy, model, data, seed, state, attempt, step, "
     "train_seconds, train_flops, message, (SELECT json_extract(p.json, '$.revision') FROM "
     "run_provenance l JOIN provenance p ON p.id = l.provenance WHERE l.run = run.key ORDER BY "
     "l.attempt DESC, l.sequence DESC LIMIT 1) FROM run ORDER BY id",
     "SELECT run, weights, attention, scenario, strategy, model, data, seed, state, attempt, "
     "steps_done, train_seconds, train_flops, message, revision FROM v_run ORDER BY run"},
    {"evaluations",
     "SELECT r.id, e.sequence, e.stage, e.step, e.task, e.attention_readout, e.attention_budget, "
     "e.weights_readout, e.weights_budget, e.masked, e.split, e.n_correct, e.n_total, "
     "printf('%.17g', e.loss) FROM {evaluations} e JOIN run r ON r.key = e.run WHERE e.n_total > 0 "
     "ORDER BY "
     "1, 2",
     "SELECT run, sequence, stage, step, task, attention_readout, attention_budget, "
     "weights_readout, weights_budget, masked, split, n_correct, n_total, printf('%.17g', loss) "
     "FROM v_eval ORDER BY 1, 2"},
    {"evaluations of no example too", "SELECT count(*), sum(n_total) FROM eval",
     "SELECT count(*), sum(n_total) FROM eval"},
    {"bits of examples",
     "SELECT r.id, e.sequence, hex(e.example_bits) FROM {evaluations} e JOIN run r ON r.key = "
     "e.run WHERE "
     "e.example_bits IS NOT NULL ORDER BY 1, 2",
     "SELECT r.id, b.sequence, hex(b.bits) FROM eval_bits b JOIN run r ON r.key = b.run ORDER BY "
     "1, 2"},
    // The last stage of the run, and in each read-out and split the last step of that stage.
    {"final results",
     "SELECT r.id, e.attention_readout, e.attention_budget, e.weights_readout, e.weights_budget, "
     "e.masked, e.split, e.stage, e.step, 1.0 * sum(e.n_correct) / sum(e.n_total), "
     "round(sum(e.loss * e.n_total) / sum(e.n_total), 12) FROM {evaluations} e JOIN run r ON r.key "
     "= e.run "
     "WHERE e.stage = (SELECT max(l.stage) FROM {evaluations} l WHERE l.run = e.run) AND e.step = "
     "(SELECT "
     "max(l.step) FROM {evaluations} l WHERE l.run = e.run AND l.stage = e.stage AND l.split = "
     "e.split AND "
     "l.attention_readout = e.attention_readout AND l.attention_budget IS e.attention_budget AND "
     "l.weights_readout = e.weights_readout AND l.weights_budget IS e.weights_budget AND l.masked "
     "= e.masked) GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7",
     "SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, "
     "split, stage, step, accuracy, round(loss, 12) FROM v_result ORDER BY 1, 2, 3, 4, 5, 6, 7"},
    {"metrics",
     "SELECT r.id, m.sequence, m.step, l.name, n.name, printf('%.17g', m.value) FROM metric m JOIN "
     "run r ON r.key = m.run JOIN layer_name l ON l.key = m.layer JOIN metric_name n ON n.key = "
     "m.name ORDER BY 1, 2",
     "SELECT run, sequence, step, layer, name, printf('%.17g', value) FROM v_metric ORDER BY 1, 2"},
    {"topology updates",
     "SELECT r.id, t.sequence, t.step, l.name, t.nnz, t.dropped, t.grown, t.mask_hash FROM "
     "topology_update t JOIN run r ON r.key = t.run JOIN layer_name l ON l.key = t.layer ORDER BY "
     "1, 2",
     "SELECT run, sequence, step, layer, nnz, dropped, grown, mask_hash FROM v_topology ORDER BY "
     "1, 2"},
    {"provenance", kProvenanceRows, kProvenanceRows},
    {"grids", kGridRows, kGridRows},
    {"trials", kTuningRows, kTuningRows},
    {"events", kEventRows, kEventRows}};

struct Value {
  std::string run, key, text;
};

// Versions before 4 have a row for each value.
std::vector<Value> config_values(const std::string& path, int version) {
  if (version >= 4) return {};
  const SQLite::Database db(path, SQLite::OPEN_READONLY);
  SQLite::Statement rows(db,
                         "SELECT r.id, c.key, c.value FROM config_value c JOIN run r ON r.key = "
                         "c.run ORDER BY 1, 2");
  std::vector<Value> values;
  while (rows.executeStep()) {
    values.push_back({rows.getColumn(0).getString(), rows.getColumn(1).getString(),
                      rows.getColumn(2).getString()});
  }
  return values;
}

bool same_value(const std::string& a, const std::string& b) {
  const auto number = parse_real(a);
  return a == b || (number && number == parse_real(b));
}

}  // namespace

TEST_CASE("a file of an earlier release holds what it is there for", "[unit]") {
  for (const int version : kOldVersions) {
    CAPTURE(version);
    const OldStore old(version);
    REQUIRE(plain_lines(old.db(), "PRAGMA user_version") == Lines{std::to_string(version)});
    for (const char* table : {"run", "eval", "metric", "topology_update", "provenance",
                              "run_provenance", "grid", "grid_run", "tuning"}) {
      CAPTURE(table);
      CHECK(plain_lines(old.db(), std::string("SELECT count(*) > 0 FROM ") + table) == Lines{"1"});
    }
    CHECK(plain_lines(old.db(), "SELECT DISTINCT state FROM run ORDER BY 1") ==
          Lines{"done", "stopped"});
    for (const std::string& line : plain_lines(old.db(), "SELECT id, json FROM provenance")) {
      CHECK(sha256(line.substr(65)) == line.substr(0, 64));
    }
  }
}

TEST_CASE("a file of an earlier release is refused by readers and left as it is", "[unit]") {
  for (const int version : kOldVersions) {
    CAPTURE(version);
    const OldStore old(version);
    const std::string before = read_file(old.db());
    CHECK_THROWS_WITH(StoreReader(old.db()),
                      Contains("has schema version " + std::to_string(version)) &&
                          Contains("tandem db check --db " + old.db()));
    CHECK(read_file(old.db()) == before);
  }
}

TEST_CASE("a file of an earlier release is brought forward with all of its rows", "[unit]") {
  for (const int version : kOldVersions) {
    const OldStore old(version);
    std::map<std::string, Lines> before;
    for (const Asked& asked : kAsked)
      before[asked.what] = plain_lines(old.db(), as_before(asked, version));
    const std::vector<Value> values = config_values(old.db(), version);
    {
      StoreWriter brought_forward(old.db());
      CHECK(brought_forward.faults() == Lines{});
    }
    CHECK_FALSE(path_exists(old.db() + "-wal"));
    CHECK_FALSE(path_exists(old.db() + "-shm"));
    for (const Asked& asked : kAsked) {
      CAPTURE(version, asked.what);
      const Lines after = plain_lines(old.db(), asked.after);
      CHECK(after == before[asked.what]);
    }
    CHECK(before["final results"].size() > 10);
    CHECK(before["bits of examples"].size() > 0);

    // The options of each run, in the words of their time.
    const StoreReader reader(old.db());
    std::map<std::string, std::map<std::string, std::string>> typed;
    const QueryResult runs = reader.query("SELECT * FROM v_run_1");
    for (const auto& row : runs.rows) {
      for (std::size_t i = 0; i < row.size(); ++i) typed[row[0]][runs.columns[i]] = row[i];
    }
    std::size_t compared = 0;
    for (const Value& value : values) {
      CAPTURE(version, value.run, value.key);
      if (find_option(value.key) == nullptr) continue;  // of a part that this program lacks
      REQUIRE(typed[value.run].count(value.key) == 1);
      CHECK(same_value(typed[value.run][value.key], value.text));
      ++compared;
    }
    if (version < 4) CHECK(compared > 30 * runs.rows.size());
    // Opened once more it is as it was; SQLite's own counters in the file's header go on.
    constexpr const char* kSchema = "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2";
    const Lines schema = plain_lines(old.db(), kSchema);
    { StoreWriter again(old.db()); }
    CHECK((plain_lines(old.db(), kSchema) == schema));
    for (const Asked& asked : kAsked) {
      CHECK((plain_lines(old.db(), asked.after) == before[asked.what]));
    }
  }
}

}  // namespace tandem::test::store_releases_unit
