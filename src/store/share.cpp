// The runs are merged into a database of their own, which is made smaller until its text fits; so
// the text depends on the runs alone, and not on the database that they come from.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "core/xz.h"
#include "store/dump.h"
#include "store/merge.h"
#include "store/sqlite_error.h"
#include "store/store.h"
#include "store/tables.h"

namespace tandem {
namespace {

using nlohmann::json;

// As v_setting has it.
constexpr const char* kTrials =
    "SELECT r.key FROM run r WHERE NOT EXISTS (SELECT 1 FROM config c WHERE c.run = r.key AND"
    " c.final = 1) AND (r.id IN (SELECT run_id FROM tuning) OR EXISTS (SELECT 1 FROM grid_run g"
    " WHERE g.run_id = r.id AND g.grid GLOB '*/tuning'))";

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// A word that begins with a slash, or that has a home folder in it, names a place on some machine.
bool names_place(const std::string& line) {
  constexpr std::string_view kBefore = " ,:=\"'\t({";
  for (std::size_t at = 0; (at = line.find('/', at)) != std::string::npos; ++at) {
    const bool begins = at == 0 || kBefore.find(line[at - 1]) != std::string_view::npos;
    const char next = at + 1 < line.size() ? line[at + 1] : ' ';
    if (begins && next != ' ' && next != '/') return true;  // neither "a / b" nor "https://"
  }
  constexpr std::array<const char*, 4> kPlaces = {"/home/", "/root/", "/tmp/", "/Users/"};
  return std::any_of(kPlaces.begin(), kPlaces.end(),
                     [&](const char* place) { return line.find(place) != std::string::npos; });
}

void refuse_place(const std::string& table, const std::string& column, const std::string& value) {
  constexpr std::size_t kShown = 80;
  for (const std::string& line : split(value, '\n')) {
    if (!names_place(line)) continue;
    throw StoreError(fmt::format(
        "{}.{} names a place on a machine: {}. What is shared must not; train on data that are "
        "named without it (a relative path, --data-dir, TANDEM_DATA)",
        table, column, line.substr(0, kShown)));
  }
}

// Sizes and hashes of data files stay; provenance keeps the id of its full text.
std::string without_places(const std::string& text) {
  json value = json::parse(text);
  for (const char* key : {"kernel", "host", "hostname"}) value.erase(key);
  if (value.contains("init")) value["init"].erase("path");
  if (value.contains("data_files")) {
    for (json& file : value["data_files"]) {
      std::string path = file.value("path", "");
      // "/usr/lib/python3 (162 files)"
      if (!path.empty() && path.back() == ')') path = path.substr(0, path.rfind(" ("));
      file["path"] = file_name(path);
    }
  }
  return value.dump();
}

void update_each(SQLite::Database& db, const std::string& table, const std::string& key,
                 const std::string& column,
                 const std::function<std::string(const std::string&)>& change) {
  std::vector<std::pair<std::string, std::string>> changed;
  SQLite::Statement rows(db, fmt::format("SELECT {}, {} FROM {}", key, column, table));
  while (rows.executeStep()) {
    changed.emplace_back(rows.getColumn(0).getString(), change(rows.getColumn(1).getString()));
  }
  rows.reset();
  SQLite::Statement set(db, fmt::format("UPDATE {} SET {} = ? WHERE {} = ?", table, column, key));
  for (const auto& [id, value] : changed) {
    set.reset();
    set.bind(1, value);
    set.bind(2, id);
    set.exec();
  }
}

void expect_metrics(SQLite::Database& db, const ShareRequest& request) {
  std::vector<std::string> there;
  SQLite::Statement rows(db, "SELECT name FROM metric_name ORDER BY name");
  while (rows.executeStep()) there.push_back(rows.getColumn(0).getString());
  for (const std::string& name : request.series) {
    if (std::count(there.begin(), there.end(), name) == 0) {
      throw ConfigError(
          fmt::format("{}: {}", request.database, did_you_mean("metric", name, there)));
    }
  }
}

// Tables that no result page reads, and what they have.
struct LeftOut {
  const char *table, *what;
};
constexpr LeftOut kLeftOut[] = {{"eval_bits", "bits per example of evaluations"},
                                {"event", "events"},
                                {"topology_update", "topology updates"}};

// Deletes the rows of a table by run and sequence that `kept` doesn't have. SQLite looks for nulls
// in all of a NOT IN's rows for each that is not there, hence a table with a key.
void keep_only(SQLite::Database& db, const std::string& table, const std::string& kept) {
  db.exec(
      "CREATE TEMP TABLE kept (run INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (run,"
      " sequence)) WITHOUT ROWID");
  db.exec("INSERT OR IGNORE INTO temp.kept " + kept);
  db.exec(
      fmt::format("DELETE FROM {0} WHERE NOT EXISTS (SELECT 1 FROM temp.kept k WHERE k.run ="
                  " {0}.run AND k.sequence = {0}.sequence);"
                  "DROP TABLE temp.kept",
                  table));
}

void keep_final_rows(SQLite::Database& db, const ShareRequest& request) {
  constexpr const char* kEnded = "SELECT key FROM run WHERE state IN ('done', 'diverged')";
  for (const RunTable& table : tables_of_runs(db)) {
    const bool kept =
        std::none_of(std::begin(kLeftOut), std::end(kLeftOut),
                     [&table](const LeftOut& each) { return table.name == each.table; });
    db.exec(fmt::format("DELETE FROM {} WHERE {}", table.name,
                        kept ? fmt::format("run NOT IN ({})", kEnded) : "true"));
  }
  db.exec(fmt::format("DELETE FROM run WHERE key NOT IN ({})", kEnded));
  db.exec("DELETE FROM provenance WHERE id NOT IN (SELECT provenance FROM run_provenance)");
  // Of each task a stage's first evaluation, which v_matrix reads, and the run's last ones.
  db.exec("DELETE FROM eval WHERE run IN (SELECT key FROM run WHERE state <> 'done')");
  keep_only(db, "eval",
            "SELECT run, sequence FROM (SELECT run, sequence, row_number() OVER (PARTITION BY run,"
            " readout, split, stage, task ORDER BY step, sequence DESC) AS place FROM eval) WHERE"
            " place = 1 UNION ALL SELECT e.run, e.sequence FROM eval e JOIN result p ON p.run ="
            " e.run AND p.readout = e.readout AND p.split = e.split AND p.stage = e.stage AND"
            " p.step = e.step");
  // `tandem replay RUN` compares the last one.
  keep_only(db, "digest", "SELECT run, max(sequence) FROM digest GROUP BY run");
  std::vector<std::string> series;
  for (const std::string& name : request.series) series.push_back("'" + name + "'");
  keep_only(db, "metric",
            fmt::format("SELECT run, max(sequence) FROM metric GROUP BY run, layer, name UNION ALL"
                        " SELECT run, sequence FROM metric WHERE run NOT IN ({}) AND name IN"
                        " (SELECT key FROM metric_name WHERE name IN ({}))",
                        kTrials, join(series, ", ")));
  update_each(db, "provenance", "id", "json", without_places);
  // Their order alone, so that the text is the same wherever the runs come from.
  db.exec(
      "CREATE TEMP TABLE places AS SELECT name, row_number() OVER (ORDER BY used, name) AS place"
      " FROM grid;"
      "UPDATE grid SET used = (SELECT place FROM temp.places p WHERE p.name = grid.name);"
      "DROP TABLE temp.places");
  update_each(db, "grid", "name", "file", [](const std::string& file) {
    return file.rfind('/', 0) == 0 ? file_name(file) : file;
  });
}

constexpr std::int64_t kHopeless = 3;  // times what it may have

struct Step {
  std::string left_out, sql;
};
// In this order, until it fits.
const std::vector<Step> kSteps = {
    {"", ""},
    {"metrics of tuning trials", fmt::format("DELETE FROM metric WHERE run IN ({})", kTrials)},
    {"metrics of single layers",
     "DELETE FROM metric WHERE layer NOT IN (SELECT key FROM layer_name WHERE name IN ('', "
     "'weights',"
     " 'attention'))"},
    // The digits of a loss are what compresses least, and measures of sequences read counts alone.
    {"losses of stages before a run's last",
     "UPDATE eval SET loss = NULL WHERE stage < (SELECT max(p.stage) FROM result p WHERE p.run ="
     " eval.run)"},
    {"validation of runs that read the test split, and of tuning trials, but for its sums at the "
     "end",
     fmt::format("DELETE FROM eval WHERE split = 'validation' AND (run IN ({}) OR run IN (SELECT"
                 " run FROM config WHERE final = 1))",
                 kTrials)},
    {"losses of single tasks, but for their sum at the end", "UPDATE eval SET loss = NULL"},
    // Forgetting reads the best of all stages but the last: what no later one equals stays.
    {"evaluations of tasks before they were trained, but those above all later ones",
     "DELETE FROM eval WHERE stage BETWEEN 1 AND task - 1 AND EXISTS (SELECT 1 FROM eval l WHERE"
     " l.run = eval.run AND l.readout = eval.readout AND l.split = eval.split AND l.task = "
     "eval.task"
     " AND l.stage >= l.task AND l.n_correct >= eval.n_correct AND (l.stage = l.task OR l.stage <"
     " (SELECT max(p.stage) FROM result p WHERE p.run = eval.run)))"}};

std::string text_of(const std::string& file, const ShareRequest& request,
                    const std::vector<std::string>& left_out) {
  DumpOptions options;
  options.head = {
      "Runs behind result tables, written by `tandem db share`. Restore: xz -dc FILE | sqlite3 "
      "runs.sqlite",
      "Left out: " + join(left_out, "; ") + "."};
  if (!request.series.empty()) {
    options.head.push_back(
        "Kept at every step, of runs that are no trials: " + join(request.series, ", ") + ".");
  }
  options.look = refuse_place;
  SQLite::Database db(file, SQLite::OPEN_READONLY);
  std::string text;
  write_dump(
      db, [&text](std::string_view piece) { text += piece; }, options);
  return text;
}

}  // namespace

SharedRuns share_runs(const ShareRequest& request) {
  const TemporaryFolder folder("tandem_share");
  const std::string file = folder / "runs.sqlite";
  StoreWriter(file).merge({.file = request.database, .grids = request.grids});
  return guarded(request.database, "sharing runs", [&] {
    SQLite::Database db(file, SQLite::OPEN_READWRITE);
    expect_metrics(db, request);
    keep_final_rows(db, request);
    SharedRuns shared;
    shared.runs = db.execAndGet("SELECT count(*) FROM run").getInt64();
    if (shared.runs == 0) {
      throw StoreError(request.database + ": no run has ended that could be shared");
    }
    for (const LeftOut& each : kLeftOut) shared.left_out.emplace_back(each.what);
    shared.left_out.insert(shared.left_out.end(),
                           {"evaluations, metrics and digests before a run's last ones",
                            "the kernel's name and the places of data files in provenance"});
    for (const Step& step : kSteps) {
      db.exec(step.sql);
      if (!step.left_out.empty()) shared.left_out.push_back(step.left_out);
      // Keys and names are those of what is left, since it is merged once more.
      const std::string rest = fmt::format("{}/rest_{}.sqlite", folder.path(), &step - &kSteps[0]);
      StoreWriter(rest).merge({.file = file});
      const std::string text = text_of(rest, request, shared.left_out);
      // The strongest setting takes minutes and makes it a third smaller, hardly a half.
      const bool hopeless = static_cast<std::int64_t>(xz_compress(text, XzEffort::kQuick).size()) >
                            kHopeless * request.most_bytes;
      if (hopeless) continue;
      shared.bytes = xz_compress(text);
      if (static_cast<std::int64_t>(shared.bytes.size()) <= request.most_bytes) return shared;
    }
    throw StoreError(fmt::format(
        "{}: what is shared would have more than the {} bytes that it may have. Share a grid of it "
        "(--grid), or fewer metrics at every step (--series)",
        request.database, request.most_bytes));
  });
}

}  // namespace tandem
