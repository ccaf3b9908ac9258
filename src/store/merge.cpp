// A run's result is taken whole or not at all. Of two results of one run the better one stays, in
// an order that asks for nothing but what the two hold, so that databases may be merged in any
// order and again: the one that ended comes before one that failed, and that before one that has
// not ended; then the later step; then the greater last number; then more rows; then the greater
// hash of them. A run that has begun here and not ended goes on here: only one that has ended
// elsewhere takes its place.
#include "store/merge.h"

#include <SQLiteCpp/Backup.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "config/grid_file.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "store/config_table.h"
#include "store/dump.h"
#include "store/schema.h"
#include "store/sqlite_error.h"
#include "store/tables.h"

namespace tandem {
namespace {

constexpr std::size_t kMostNamed = 10;

// Rows as bytes that are equal exactly where the values are, types included.
void add_row(Sha256& hash, SQLite::Statement& row) {
  for (int i = 0; i < row.getColumnCount(); ++i) {
    const SQLite::Column column = row.getColumn(i);
    hash.update(fmt::format("{} ", column.getType()));
    if (column.isFloat()) {
      const double value = column.getDouble();
      hash.update({reinterpret_cast<const char*>(&value), sizeof value});
    } else {
      const int size = column.getBytes();
      hash.update(fmt::format("{} ", size));
      hash.update({static_cast<const char*>(column.getBlob()), static_cast<std::size_t>(size)});
    }
  }
}

class Merger {
 public:
  Merger(SQLite::Database& db, const MergeRequest& request,
         const std::function<void(const std::string&)>& remove,
         const std::pair<std::string, std::string>& named)
      : db_(db),
        request_(request),
        remove_(remove),
        named_(named),
        tables_(tables_of_runs(db)),
        dictionaries_(dictionaries(db)) {}

  MergeReport merge() {
    name_grids();
    choose_runs();
    // What is shared has less of it than where it was trained: the longer text stays.
    db_.exec(
        "INSERT INTO main.provenance SELECT * FROM source.provenance p WHERE EXISTS (SELECT 1 FROM"
        " source.run_provenance l JOIN temp.taken t ON t.source = l.run WHERE l.provenance = p.id"
        " AND t.whole = 1) ON CONFLICT (id) DO UPDATE SET json = excluded.json WHERE"
        " (length(excluded.json), excluded.json) > (length(json), json)");
    map_dictionaries();
    add_new_config_columns();
    copy_runs();
    for (const RunTable& table : tables_) copy_rows(table);
    if (!report_.replaced.empty()) {  // that of results which gave way
      db_.exec(
          "DELETE FROM main.provenance WHERE id NOT IN (SELECT provenance FROM run_provenance)");
    }
    copy_grids();
    copy_tuning();
    copy_references();
    for (const char* table : {"taken", "grid_names", "map"}) {
      db_.exec(fmt::format("DROP TABLE temp.{}", table));
    }
    return report_;
  }

 private:
  std::vector<std::string> column(const std::string& sql) {
    std::vector<std::string> found;
    SQLite::Statement rows(db_, sql);
    while (rows.executeStep()) found.push_back(rows.getColumn(0).getString());
    return found;
  }

  // temp.grid_names: what each grid of the source that is wanted is called here.
  void name_grids() {
    db_.exec("CREATE TEMP TABLE grid_names (source TEXT PRIMARY KEY, target TEXT NOT NULL)");
    std::vector<std::string> there = column("SELECT name FROM source.grid ORDER BY name");
    const auto expect = [&](const std::string& name) {
      if (std::count(there.begin(), there.end(), name) != 0) return;
      throw ConfigError(fmt::format("{}: {}", named_.second, did_you_mean("grid", name, there)));
    };
    if (request_.grids) std::for_each(request_.grids->begin(), request_.grids->end(), expect);
    std::map<std::string, std::string> renamed;
    for (const auto& [from, to] : request_.renamed) {
      expect(from);
      renamed[from] = to;
      renamed[from + kTuningSuffix] = to + kTuningSuffix;
    }
    std::set<std::string> targets;
    SQLite::Statement add(db_, "INSERT INTO temp.grid_names VALUES (?, ?)");
    for (const std::string& name : there) {
      if (!wanted(name)) continue;
      const auto other = renamed.find(name);
      const std::string target = other == renamed.end() ? name : other->second;
      if (!targets.insert(target).second) {
        throw ConfigError(fmt::format(
            "--rename: {} has a grid {} of its own; choose a name that none of its grids has",
            named_.second, target));
      }
      add.reset();
      add.bind(1, name);
      add.bind(2, target);
      add.exec();
    }
    refuse_other_grids();
  }

  bool wanted(const std::string& grid) const {
    if (!request_.grids) return true;
    return std::any_of(
        request_.grids->begin(), request_.grids->end(),
        [&grid](const std::string& name) { return grid == name || grid == name + kTuningSuffix; });
  }

  void refuse_other_grids() {
    const std::vector<std::string> other = column(
        "SELECT n.target FROM temp.grid_names n JOIN source.grid s ON s.name = n.source"
        " JOIN main.grid m ON m.name = n.target WHERE m.text <> s.text AND m.file <> s.file"
        " AND NOT EXISTS (SELECT 1 FROM source.grid_run a JOIN main.grid_run b ON b.run_id ="
        " a.run_id WHERE a.grid = n.source AND b.grid = n.target)"
        " AND EXISTS (SELECT 1 FROM source.grid_run WHERE grid = n.source)"
        " AND EXISTS (SELECT 1 FROM main.grid_run WHERE grid = n.target)");
    if (other.empty()) return;
    throw StoreError(fmt::format(
        "the grid {0} of {1} is another than that of {2}: they have other texts and no run in "
        "common, and one name can't stand for both. Nothing of {1} was merged. Give one a name of "
        "its own: --rename {0}=NAME",
        other.front(), named_.second, named_.first));
  }

  // temp.taken: runs of the source that are copied; `whole`: with all of their rows. A run that has
  // not ended goes on where it began, so that here it is only known that it is wanted.
  void choose_runs() {
    db_.exec(
        "CREATE TEMP TABLE taken (id TEXT PRIMARY KEY, source INTEGER NOT NULL UNIQUE,"
        " whole INTEGER NOT NULL, target INTEGER)");
    const std::string some = request_.grids
                                 ? " WHERE s.id IN (SELECT r.run_id FROM source.grid_run r JOIN"
                                   " temp.grid_names n ON n.source = r.grid)"
                                 : "";
    SQLite::Statement runs(
        db_,
        fmt::format(
            "SELECT s.id, s.key, s.state, s.step, s.last_sequence, m.key, m.state,"
            " m.step, m.last_sequence, (s.attempt, s.train_seconds, s.eval_seconds,"
            " s.probe_seconds, s.train_flops, s.message, s.provenance) IS (m.attempt,"
            " m.train_seconds, m.eval_seconds, m.probe_seconds, m.train_flops,"
            " m.message, m.provenance), m.attempt FROM source.run s LEFT JOIN main.run m ON m.id"
            " = s.id{} ORDER BY (SELECT min(g.grid) FROM source.grid_run g WHERE"
            " g.run_id = s.id), (SELECT min(g.position) FROM source.grid_run g WHERE"
            " g.run_id = s.id), s.id",
            some));
    SQLite::Statement take(db_, "INSERT INTO temp.taken (id, source, whole) VALUES (?, ?, ?)");
    while (runs.executeStep()) {
      const std::string id = runs.getColumn(0).getString();
      const std::int64_t key = runs.getColumn(1).getInt64();
      const int rank = rank_of(runs.getColumn(2).getString());
      ++report_.runs;
      if (!runs.getColumn(5).isNull()) {
        if (rank == 0) continue;
        const int own = rank_of(runs.getColumn(6).getString());
        const bool goes_on_here = own == 0 && runs.getColumn(10).getInt64() > 0;
        if (rank == 1 && goes_on_here) continue;
        const std::int64_t here = runs.getColumn(5).getInt64();
        const auto result = [&](int i, int first) {
          return std::tuple(i, runs.getColumn(first).getInt64(),
                            runs.getColumn(first + 1).getInt64());
        };
        const auto theirs = result(rank, 3), ours = result(own, 7);
        bool better = theirs > ours;
        if (theirs == ours) {
          // Times to the nanosecond and counts tell two trainings apart; only others are read
          // whole.
          const bool same = runs.getColumn(9).getInt() != 0 &&
                            rows_of("source", key) == rows_of("main", here) &&
                            hash_of_results("source", key) == hash_of_results("main", here);
          better = !same && decide(id, key, here);
        } else if (rank == 2 && own == 2 && evaluations_differ(key, here)) {
          differ(id);
        }
        if (!better) continue;
        report_.replaced.push_back(id);
      }
      if (rank == 0) ++report_.unfinished;
      take.reset();
      take.bind(1, id);
      take.bind(2, key);
      take.bind(3, rank > 0 ? 1 : 0);
      take.exec();
    }
    runs.reset();
    for (const std::string& id : report_.replaced) remove_(id);
    report_.added = db_.execAndGet("SELECT count(*) FROM temp.taken WHERE whole = 1").getInt64() -
                    static_cast<std::int64_t>(report_.replaced.size());
  }

  static int rank_of(const std::string& state) {
    if (state == "done" || state == "diverged") return 2;
    return state == "failed" ? 1 : 0;
  }

  void differ(const std::string& id) {
    ++report_.differing;
    if (report_.named.size() < kMostNamed) report_.named.push_back(id.substr(0, 12));
  }

  // Two results that are alike in all that comes first. Whether the source's is the better one.
  bool decide(const std::string& id, std::int64_t theirs, std::int64_t ours) {
    if (evaluations_differ(theirs, ours)) differ(id);
    const std::int64_t their_rows = rows_of("source", theirs), our_rows = rows_of("main", ours);
    if (their_rows != our_rows) return their_rows > our_rows;
    return hash_of("source", theirs) > hash_of("main", ours);
  }

  std::int64_t rows_of(const std::string& schema, std::int64_t key) {
    std::int64_t rows = 0;
    for (const RunTable& table : tables_) {
      if (!table.sequenced) continue;
      SQLite::Statement count(
          db_, fmt::format("SELECT count(*) FROM {}.{} WHERE run = ?", schema, table.name));
      count.bind(1, key);
      count.executeStep();
      rows += count.getColumn(0).getInt64();
    }
    return rows;
  }

  std::string hash_of_rows(const std::string& sql, std::int64_t key) {
    Sha256 hash;
    SQLite::Statement each(db_, sql);
    each.bind(1, key);
    while (each.executeStep()) add_row(hash, each);
    return hash.finish();
  }

  // At the end, whatever their numbers are: those of rows of other kinds move them.
  bool evaluations_differ(std::int64_t theirs, std::int64_t ours) {
    const auto hash = [this](const char* schema, std::int64_t key) {
      return hash_of_rows(
          fmt::format(
              "SELECT o.identity, e.split, e.stage, e.step, e.task, e.n_correct, e.n_total,"
              " e.loss FROM {0}.result p JOIN {0}.eval e ON e.run = p.run AND e.readout ="
              " p.readout AND e.split = p.split AND e.stage = p.stage AND e.step = p.step"
              " JOIN {0}.readout o ON o.key = e.readout WHERE p.run = ? ORDER BY 1, 2, 3, 4,"
              " 5",
              schema),
          key);
    };
    return hash("source", theirs) != hash("main", ours);
  }

  std::string hash_of_results(const char* schema, std::int64_t key) {
    return hash_of_rows(
        fmt::format("SELECT o.identity, p.split, p.stage, p.step, p.n_correct, p.n_total,"
                    " p.loss_sum FROM {0}.result p JOIN {0}.readout o ON o.key = p.readout"
                    " WHERE p.run = ? ORDER BY 1, 2",
                    schema),
        key);
  }

  // Of all that a run said and of the row that it has.
  std::string hash_of(const std::string& schema, std::int64_t key) {
    std::vector<std::string> own = columns_in_order(db_, "run");
    std::erase(own, "key");
    Sha256 all;
    all.update(hash_of_rows(
        fmt::format("SELECT {} FROM {}.run WHERE key = ?", column_list(own), schema), key));
    for (const RunTable& table : tables_) {
      if (!table.sequenced) continue;
      all.update(table.name);
      all.update(hash_of_rows(
          fmt::format("SELECT {} FROM {}.{} t WHERE t.run = ? ORDER BY"
                      " t.sequence, {}",
                      named_columns(table, schema), schema, table.name, table.columns.size()),
          key));
    }
    return all.finish();
  }

  const Dictionary& dictionary(const std::string& name) const {
    return *std::find_if(dictionaries_.begin(), dictionaries_.end(),
                         [&name](const Dictionary& each) { return each.name == name; });
  }

  static const std::string* dictionary_of(const RunTable& table, const std::string& column) {
    for (const auto& [from, to] : table.references) {
      if (from == column) return &to;
    }
    return nullptr;
  }

  // The columns with what their keys stand for.
  std::string named_columns(const RunTable& table, const std::string& schema) const {
    std::vector<std::string> columns;
    for (const std::string& name : table.columns) {
      const std::string* of = dictionary_of(table, name);
      columns.push_back(of == nullptr
                            ? fmt::format("t.\"{}\"", name)
                            : fmt::format("(SELECT d.\"{}\" FROM {}.{} d WHERE d.key = t.\"{}\")",
                                          dictionary(*of).natural, schema, *of, name));
    }
    return join(columns, ", ");
  }

  // temp.map: what a key of the source's dictionary is here.
  void map_dictionaries() {
    db_.exec(
        "CREATE TEMP TABLE map (dictionary TEXT NOT NULL, source INTEGER NOT NULL,"
        " target INTEGER NOT NULL, PRIMARY KEY (dictionary, source)) WITHOUT ROWID");
    for (const Dictionary& each : dictionaries_) {
      std::vector<std::string> used;
      for (const RunTable& table : tables_) {
        for (const auto& [column, name] : table.references) {
          if (name != each.name) continue;
          used.push_back(
              fmt::format("SELECT t.\"{}\" FROM source.{} t JOIN temp.taken k ON"
                          " k.source = t.run WHERE k.whole = 1",
                          column, table.name));
        }
      }
      db_.exec(
          fmt::format("INSERT OR IGNORE INTO main.{0} ({1}) SELECT {1} FROM source.{0} WHERE"
                      " key IN ({2}) ORDER BY \"{3}\"",
                      each.name, column_list(each.columns), join(used, " UNION "), each.natural));
      db_.exec(
          fmt::format("INSERT INTO temp.map SELECT '{0}', s.key, m.key FROM source.{0} s JOIN"
                      " main.{0} m ON m.\"{1}\" = s.\"{1}\"",
                      each.name, each.natural));
    }
  }

  // Another build of this version may know options that this one does not.
  void add_new_config_columns() {
    const std::set<std::string> own = columns_of(db_, "config");
    SQLite::Statement theirs(db_, "SELECT name, type FROM pragma_table_info('config', 'source')");
    std::vector<std::string> missing;
    while (theirs.executeStep()) {
      if (own.count(theirs.getColumn(0).getString()) != 0) continue;
      missing.push_back(fmt::format("\"{}\" {}", theirs.getColumn(0).getString(),
                                    theirs.getColumn(1).getString()));
    }
    theirs.reset();
    for (const std::string& each : missing) {
      db_.exec("ALTER TABLE main.config ADD COLUMN " + each);
    }
  }

  void copy_runs() {
    const std::vector<std::string> asked = {"id",        "canonical", "setting",  "weights",
                                            "attention", "scenario",  "strategy", "model",
                                            "data",      "seed"};
    std::vector<std::string> all = columns_in_order(db_, "run");
    std::erase(all, "key");
    for (const auto& [columns, whole] : {std::pair(all, 1), std::pair(asked, 0)}) {
      db_.exec(
          fmt::format("INSERT INTO main.run ({}) SELECT {} FROM source.run s JOIN temp.taken k"
                      " ON k.source = s.key WHERE k.whole = {} ORDER BY k.rowid",
                      column_list(columns), column_list(columns, "s."), whole));
    }
    db_.exec("UPDATE temp.taken SET target = (SELECT key FROM main.run r WHERE r.id = taken.id)");
  }

  void copy_rows(const RunTable& table) {
    const bool config = table.name == "config";
    std::vector<std::string> columns = table.columns;
    if (config) {
      columns = columns_in_order(db_, "config", "source");
      std::erase(columns, "run");
    }
    std::vector<std::string> values;
    for (const std::string& name : columns) {
      const std::string* of = dictionary_of(table, name);
      values.push_back(of == nullptr
                           ? fmt::format("t.\"{}\"", name)
                           : fmt::format("(SELECT m.target FROM temp.map m WHERE m.dictionary ="
                                         " '{}' AND m.source = t.\"{}\")",
                                         *of, name));
    }
    db_.exec(
        fmt::format("INSERT INTO main.{0} (run, {1}) SELECT k.target, {2} FROM temp.taken k"
                    " JOIN source.{0} t ON t.run = k.source WHERE k.whole >= {3} ORDER BY"
                    " k.target{4}",
                    table.name, column_list(columns), join(values, ", "), config ? 0 : 1,
                    table.sequenced ? ", t.sequence" : ""));
  }

  // Members of both; of two texts the greater one, as they are compared byte by byte.
  void copy_grids() {
    // Those that come were used after those that are here.
    const std::int64_t used =
        db_.execAndGet("SELECT coalesce(max(used), 0) FROM main.grid").getInt64();
    db_.exec(
        fmt::format("INSERT INTO main.grid (name, file, text, used) SELECT n.target, g.file, "
                    "g.text, {} + g.used"
                    " FROM source.grid g JOIN temp.grid_names n ON n.source = g.name WHERE true"
                    " ON CONFLICT (name) DO UPDATE SET file = excluded.file, text = excluded.text"
                    " WHERE (excluded.text, excluded.file) > (text, file)",
                    used));
    db_.exec(
        "INSERT INTO main.grid_run (grid, run_id, position) SELECT n.target, r.run_id, r.position"
        " FROM source.grid_run r JOIN temp.grid_names n ON n.source = r.grid WHERE true"
        " ON CONFLICT (grid, run_id) DO UPDATE SET position = min(position, excluded.position)");
  }

  // The grid whose tuning it is, here; what belongs to no grid of the source goes by its name.
  static constexpr const char* kTuned =
      "coalesce((SELECT n.target FROM temp.grid_names n WHERE n.source = t.grid),"
      " (SELECT substr(n.target, 1, length(n.target) - length('/tuning')) FROM temp.grid_names n"
      " WHERE n.source = t.grid || '/tuning'), t.grid)";

  // The trials of a method stay together, since one of them is its choice: the set with more of
  // them, and of two such the one whose text is greater.
  void copy_tuning() {
    const std::string of_wanted =
        request_.grids ? "EXISTS (SELECT 1 FROM temp.grid_names n WHERE n.source IN (t.grid,"
                         " t.grid || '/tuning'))"
                       : "true";
    const auto sets = [&](const std::string& schema, const std::string& grid,
                          const std::string& some) {
      return fmt::format(
          "SELECT {1} AS grid, t.method AS method, count(*) AS n, group_concat(quote(t.trial) ||"
          " t.seed || t.run_id || quote(t.score) || t.chosen || t.readout || t.round || ':' ||"
          " t.trials, ';') AS text FROM (SELECT * FROM {0}.tuning ORDER BY grid, method, trial,"
          " seed) t WHERE {2} GROUP BY 1, 2",
          schema, grid, some);
    };
    db_.exec(
        fmt::format("CREATE TEMP TABLE better AS SELECT s.grid, s.method FROM ({}) s LEFT JOIN"
                    " ({}) m ON m.grid = s.grid AND m.method = s.method WHERE m.n IS NULL OR"
                    " (s.n, s.text) > (m.n, m.text)",
                    sets("source", kTuned, of_wanted), sets("main", "t.grid", "true")));
    db_.exec(
        "DELETE FROM main.tuning WHERE (grid, method) IN (SELECT grid, method FROM temp.better)");
    std::vector<std::string> rest = columns_in_order(db_, "tuning");
    std::erase(rest, "grid");
    db_.exec(
        fmt::format("INSERT INTO main.tuning (grid, {0}) SELECT {1}, {2} FROM source.tuning t"
                    " WHERE ({1}, t.method) IN (SELECT grid, method FROM temp.better)",
                    column_list(rest), kTuned, column_list(rest, "t.")));
    db_.exec("DROP TABLE temp.better");
    copy_greatest("tuning_plan", {"grid"}, of_wanted);
    copy_greatest("tuned_run", {"grid", "run_id"}, of_wanted);
  }

  void copy_references() {
    if (!request_.grids)
      copy_greatest("reference", {"source", "method", "setting", "metric"}, "true");
  }

  // Rows of a table with `keys`; where both have one, the greater of the two stays.
  void copy_greatest(const std::string& table, const std::vector<std::string>& keys,
                     const std::string& some) {
    const std::vector<std::string> all = columns_in_order(db_, table);
    std::vector<std::string> values, rest, set, ours, theirs;
    for (const std::string& name : all) {
      values.push_back(name == "grid" ? kTuned : "t.\"" + name + "\"");
      if (std::count(keys.begin(), keys.end(), name) != 0) continue;
      set.push_back(fmt::format("\"{0}\" = excluded.\"{0}\"", name));
      // NULL compares with nothing: it comes before all values.
      theirs.push_back(fmt::format("quote(excluded.\"{}\")", name));
      ours.push_back(fmt::format("quote({}.\"{}\")", table, name));
    }
    db_.exec(
        fmt::format("INSERT INTO main.{0} ({1}) SELECT {2} FROM source.{0} t WHERE {3} ON"
                    " CONFLICT ({4}) DO UPDATE SET {5} WHERE ({6}) > ({7})",
                    table, column_list(all), join(values, ", "), some, column_list(keys),
                    join(set, ", "), join(theirs, ", "), join(ours, ", ")));
  }

  SQLite::Database& db_;
  const MergeRequest& request_;
  const std::function<void(const std::string&)>& remove_;
  const std::pair<std::string, std::string>& named_;
  std::vector<RunTable> tables_;
  std::vector<Dictionary> dictionaries_;
  MergeReport report_;
};

}  // namespace

std::string attachable(const std::string& file, const std::string& folder) {
  if (file.ends_with(".sql") || file.ends_with(".sql.xz")) {
    const std::string restored = folder + "/restored.sqlite";
    restore_dump(file, restored);
    return attachable(restored, folder);
  }
  expect_results_database(file);
  return guarded(file, "reading the database", [&] {
    expect_own_file(file, kStoreVersion);
    SQLite::Database look = open_read_only(file);
    const std::vector<EmbeddedFile> files = migration_files(embedded_sql());
    const int version = checked_version(look, file, static_cast<int>(files.size()));
    if (version == 0) throw StoreError(file + " is empty: there is nothing to merge");
    if (version == static_cast<int>(files.size())) return file;
    const std::string copy = folder + "/forward.sqlite";
    SQLite::Database forward(copy, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup backup(forward, look);
    backup.executeStep(-1);
    migrate(forward, copy, files);
    return copy;
  });
}

MergeReport merge_source(SQLite::Database& db, const MergeRequest& request,
                         const std::function<void(const std::string& run)>& remove,
                         const std::pair<std::string, std::string>& named) {
  return Merger(db, request, remove, named).merge();
}

}  // namespace tandem
