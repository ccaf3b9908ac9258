// Read-only access, safe while the writer writes: each query is one short read transaction.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "store/schema.h"
#include "store/sqlite_error.h"
#include "store/store.h"
#include "store/tables.h"

namespace tandem {
namespace {

constexpr char kSelectRun[] =
    "SELECT r.id, r.canonical, coalesce((SELECT min(g.grid) FROM grid_run g WHERE g.run_id = r.id),"
    " ''), r.state, r.attempt, r.last_sequence, coalesce(r.train_seconds, 0) +"
    " coalesce(r.eval_seconds, 0) + coalesce(r.probe_seconds, 0), CASE WHEN r.state IN ('done',"
    " 'diverged', 'queued') THEN r.step ELSE max(r.step,"
    " coalesce((SELECT max(e.step) FROM eval e WHERE e.run = r.key), 0),"
    " coalesce((SELECT m.step FROM metric m WHERE m.run = r.key ORDER BY m.sequence DESC LIMIT 1), "
    "0),"
    " coalesce((SELECT t.step FROM topology_update t WHERE t.run = r.key ORDER BY t.sequence DESC"
    " LIMIT 1), 0)) END, r.key, r.storage FROM run r ";

SQLite::Database open_for_reading(const std::string& path) {
  expect_results_database(path);
  return guarded(path, "opening the database", [&path] {
    expect_own_file(path, kStoreVersion);
    SQLite::Database db = open_read_only(path);
    const int version = checked_version(db, path, kStoreVersion);
    if (version == 0)
      throw StoreError(fmt::format(
          "{} is empty. `tandem run` and `tandem grid run` fill it; --db names another", path));
    if (version < kStoreVersion)
      throw StoreError(fmt::format(
          "{0} has schema version {1}, this program reads version {2}. `tandem db check --db {0}` "
          "brings it forward, as any command that writes to it does",
          path, version, kStoreVersion));
    use_own_views(db);
    return db;
  });
}

std::string hex_of(const SQLite::Column& column) {
  const auto* bytes = static_cast<const unsigned char*>(column.getBlob());
  std::string hex;
  for (int i = 0; i < column.getBytes(); ++i) hex += fmt::format("{:02x}", bytes[i]);
  return hex;
}

std::string text_of(const SQLite::Column& column) {
  if (column.isNull()) return "";
  if (column.isFloat()) return fmt::format("{}", column.getDouble());
  if (column.isBlob()) return hex_of(column);
  return column.getString();
}

void expect_one_statement(SQLite::Database& db, const std::string& sql) {
  sqlite3_stmt* first = nullptr;
  const char* tail = nullptr;
  const int code = sqlite3_prepare_v2(db.getHandle(), sql.c_str(), -1, &first, &tail);
  sqlite3_finalize(first);
  if (code != SQLITE_OK) throw SQLite::Exception(db.getHandle(), code);
  sqlite3_stmt* second = nullptr;
  const int more = sqlite3_prepare_v2(db.getHandle(), tail, -1, &second, nullptr);
  const bool extra = more != SQLITE_OK || second != nullptr;
  sqlite3_finalize(second);
  if (first == nullptr) throw ConfigError("the SQL text is empty; give one SELECT");
  if (extra) throw ConfigError(fmt::format("one SQL statement is expected; cut here: {}", tail));
}

bool is_fault_of_sql(int code) {
  return code == SQLITE_ERROR || code == SQLITE_READONLY || code == SQLITE_TOOBIG ||
         code == SQLITE_MISMATCH || code == SQLITE_RANGE;
}

// What the asker can mend is a ConfigError; what is wrong with the file goes on as it is.
template <class F>
auto asked(F&& action) {
  try {
    return std::forward<F>(action)();
  } catch (const SQLite::Exception& error) {
    const int code = error.getErrorCode() & 0xFF;
    if (!is_fault_of_sql(code)) throw;
    throw ConfigError(
        fmt::format("the SQL can't be run: {}. {}", error.what(),
                    code == SQLITE_READONLY
                        ? "A query reads and changes nothing; give a SELECT"
                        : "The views v_run, v_eval, v_metric, v_topology, v_digest, v_continual, "
                          "v_stability, v_anytime, v_joint and v_storage hold plain names; `tandem "
                          "list columns` has them. A database of an earlier release "
                          "gets what it lacks of them by `tandem db check`"));
  }
}

QueryResult rows_of(SQLite::Statement& s) {
  QueryResult result;
  for (int i = 0; i < s.getColumnCount(); ++i) result.columns.push_back(s.getColumnName(i));
  while (s.executeStep()) {
    std::vector<std::string> row;
    std::vector<bool> null, number;
    for (int i = 0; i < s.getColumnCount(); ++i) {
      const SQLite::Column column = s.getColumn(i);
      row.push_back(text_of(column));
      null.push_back(column.isNull());
      number.push_back(column.isInteger() || column.isFloat());
    }
    result.rows.push_back(std::move(row));
    result.null.push_back(std::move(null));
    result.number.push_back(std::move(number));
  }
  return result;
}

}  // namespace

struct StoreReader::Impl {
  explicit Impl(const std::string& file) : path(file), db(open_for_reading(file)) {}

  // Restricts what is read to these runs: tables and views of this connection stand before the
  // file's. config and provenance are reached from run alone, by their keys.
  void restrict_to(const std::vector<std::string>& ids) {
    guarded(path, "choosing runs", [&] {
      db.exec("PRAGMA temp_store = MEMORY");
      db.exec("CREATE TEMP TABLE wanted (run INTEGER PRIMARY KEY)");
      SQLite::Statement add(
          db, "INSERT OR IGNORE INTO temp.wanted SELECT key FROM main.run WHERE id = ?");
      for (const std::string& id : ids) {
        add.reset();
        add.bind(1, id);
        add.exec();
      }
      // Runs are joined by key and by id again and again: a table of their own, with both.
      db.exec(
          "CREATE TEMP TABLE run AS SELECT * FROM main.run WHERE key IN (SELECT run FROM "
          "temp.wanted);"
          "CREATE UNIQUE INDEX temp.wanted_key ON run (key);"
          "CREATE UNIQUE INDEX temp.wanted_id ON run (id);");
      for (const RunTable& table : tables_of_runs(db)) {
        if (table.name == "config") continue;
        db.exec(
            fmt::format("CREATE TEMP VIEW {0} AS SELECT * FROM main.{0}"
                        " WHERE run IN (SELECT run FROM temp.wanted)",
                        table.name));
      }
      use_own_views(db, /*always=*/true);
    });
  }

  std::vector<RunRecord> select(const std::string& rest, const std::string& parameter = "") {
    return guarded(path, "reading runs", [&] {
      SQLite::Transaction snapshot(db);
      SQLite::Statement s(db, kSelectRun + rest);
      if (!parameter.empty()) s.bind(1, parameter);
      const bool written = has_live_writer(path);
      std::vector<RunRecord> found;
      while (s.executeStep()) {
        RunRecord r;
        r.id = s.getColumn(0).getString();
        r.canonical = s.getColumn(1).getString();
        r.grid = s.getColumn(2).getString();
        r.state = s.getColumn(3).getString();
        if (r.state == "running" && !written) r.state = "interrupted";
        r.attempt = s.getColumn(4).getInt64();
        r.last_sequence = s.getColumn(5).getInt64();
        r.seconds = s.getColumn(6).getDouble();
        r.step = s.getColumn(7).getInt64();
        const SQLite::Column storage = s.getColumn(9);
        if (!storage.isNull()) r.storage = storage.getString();
        found.push_back(std::move(r));
      }
      return found;
    });
  }

  std::string path;
  mutable SQLite::Database db;
};

bool has_live_writer(const std::string& path) {
  return lock_holder(database_file(path) + ".lock").has_value();
}

StoreReader::StoreReader(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
StoreReader::~StoreReader() = default;
StoreReader::StoreReader(StoreReader&&) noexcept = default;

StoreReader StoreReader::only(const std::vector<std::string>& ids) const {
  StoreReader reader(impl_->path);
  reader.impl_->restrict_to(ids);
  return reader;
}

std::vector<RunRecord> StoreReader::runs() const { return impl_->select("ORDER BY r.key"); }

std::vector<RunRecord> StoreReader::runs_of_grid(const std::string& name) const {
  const QueryResult grids = query("SELECT name FROM grid ORDER BY name");
  std::vector<std::string> names;
  for (const auto& row : grids.rows) names.push_back(row[0]);
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw ConfigError(fmt::format("{}: {}", impl_->path, did_you_mean("grid", name, names)));
  std::vector<RunRecord> found = impl_->select(
      "JOIN grid_run m ON m.run_id = r.id WHERE m.grid = ?1 ORDER BY m.position", name);
  for (RunRecord& r : found) r.grid = name;
  return found;
}

std::optional<GridRecord> StoreReader::find_grid(const std::string& name) const {
  const QueryResult grids = query("SELECT file, text FROM grid WHERE name = ?", {name});
  if (grids.rows.empty()) return std::nullopt;
  GridRecord grid{name, grids.rows[0][0], grids.rows[0][1], {}};
  const QueryResult members =
      query("SELECT run_id FROM grid_run WHERE grid = ? ORDER BY position", {name});
  for (const auto& row : members.rows) grid.runs.push_back(row[0]);
  return grid;
}

std::optional<GridRecord> StoreReader::last_grid() const {
  const QueryResult last = query(
      "SELECT name FROM grid WHERE name NOT GLOB '*/tuning' ORDER BY used DESC, name LIMIT 1");
  if (last.rows.empty()) return std::nullopt;
  return find_grid(last.rows.front().front());
}

RunRecord StoreReader::find_run(const std::string& prefix) const {
  if (prefix.empty() || prefix.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw ConfigError(fmt::format(
        "\"{}\" is no run id: expected the first digits of one (0-9, a-f). List them: tandem query "
        "runs",
        prefix));
  const std::vector<RunRecord> found =
      impl_->select("WHERE substr(r.id, 1, length(?1)) = ?1 ORDER BY r.id LIMIT 6", prefix);
  if (found.size() == 1) {
    RunRecord run = found.front();
    const auto values = values_of(run);
    run.values.assign(values.begin(), values.end());
    return run;
  }
  if (found.empty())
    throw ConfigError(fmt::format("{}: no run's id begins with {}. List them: tandem query runs",
                                  impl_->path, prefix));
  std::vector<std::string> ids;
  for (const RunRecord& r : found) ids.push_back(r.id.substr(0, 12));
  throw ConfigError(fmt::format("{}: several runs' ids begin with {}: {}{}. Give more digits",
                                impl_->path, prefix, join(ids, ", "),
                                found.size() == 6 ? ", ..." : ""));
}

QueryResult StoreReader::query(const std::string& sql,
                               const std::vector<std::string>& parameters) const {
  return guarded(impl_->path, "running a query", [&] {
    return asked([&] {
      expect_one_statement(impl_->db, sql);
      SQLite::Statement s(impl_->db, sql);
      const auto expected = static_cast<std::size_t>(s.getBindParameterCount());
      if (parameters.size() > expected)
        throw ConfigError(fmt::format("the query takes {} parameters, {} were given", expected,
                                      parameters.size()));
      for (std::size_t i = 0; i < parameters.size(); ++i)
        s.bind(static_cast<int>(i) + 1, parameters[i]);
      return rows_of(s);
    });
  });
}

}  // namespace tandem
