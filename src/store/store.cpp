// The writer. A transaction that fails leaves nothing behind, neither in the file nor in the
// caches, so that a caller may send the same rows again.
//
// The state row in force is the one with the highest sequence number of the attempt:
// begin_attempt() sets the mark back, since a resumed run counts on from its checkpoint.
#include "store/store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "store/check.h"
#include "store/config_table.h"
#include "store/merge.h"
#include "store/schema.h"
#include "store/sqlite_error.h"
#include "store/tables.h"

namespace tandem {
namespace {

constexpr char kNoConflict[] = " ON CONFLICT DO NOTHING";

std::string folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

void expect_writable_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  if (!path_exists(folder) || !std::filesystem::is_directory(folder))
    throw StoreError(
        fmt::format("{}: the folder {} does not exist. Make it, or choose another place with --db",
                    path, folder));
  if (::access(folder.c_str(), W_OK) != 0)
    throw StoreError(fmt::format(
        "{}: the folder {} cannot be written, and a database needs files beside it. Change its "
        "permissions, or choose another place with --db",
        path, folder));
}

// Each name would have a lock of its own, and the two writers' logs would lie in two places.
void expect_one_name(const std::string& path) {
  std::error_code unseen;
  const auto names = std::filesystem::hard_link_count(path, unseen);
  if (unseen || names < 2) return;
  throw StoreError(fmt::format(
      "{}: the file has {} names (hard links), and its one writer can be told by its name alone. "
      "Make a copy of its own, or use a symbolic link",
      path, names));
}

void expect_state(const std::string& state) {
  constexpr const char* kStates[] = {"queued", "running", "done", "diverged", "failed", "stopped"};
  if (std::find(std::begin(kStates), std::end(kStates), state) == std::end(kStates))
    throw StoreError(fmt::format(
        "\"{}\" is no state of a run: queued, running, done, diverged, failed or stopped", state));
}

std::string canonical_json(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  if (!j.is_object())
    throw StoreError(
        fmt::format("provenance is no JSON object; it begins with: {}", text.substr(0, 120)));
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const std::string* find_value(const RunRecord& run, const std::string& key) {
  for (const auto& [name, value] : run.values)
    if (name == key) return &value;
  return nullptr;
}

}  // namespace

struct StoreWriter::Impl {
  explicit Impl(const std::string& file)
      : path(database_file(file)), lock(make_lock(path)), db(make_database(path)) {
    stop_abandoned_runs();
  }
  ~Impl();

  static FileLock make_lock(const std::string& path);
  static SQLite::Database make_database(const std::string& path);

  SQLite::Statement& statement(const std::string& sql);
  template <class F>
  void transaction(const std::string& doing, F&& action);

  std::int64_t run_key(const std::string& id);
  std::int64_t name_key(const char* table, std::unordered_map<std::string, std::int64_t>& cache,
                        const std::string& name);
  void add_run(const RunRecord& run);
  void add_event(std::int64_t run, const std::string& kind, const std::string& message);
  void stop_abandoned_runs();
  void remove_rows(std::int64_t run, const std::set<std::string>& but);
  void remove_run(const std::string& id);

  std::int64_t readout_key(const ReadoutRecord& readout);
  void add_to_result(std::int64_t run, std::int64_t readout, const EvalRow& r);
  void put(std::int64_t run, std::int64_t sequence, const EvalRow& r);
  void put(std::int64_t run, std::int64_t sequence, const MetricRow& r);
  void put(std::int64_t run, std::int64_t sequence, const TopologyRow& r);
  void put(std::int64_t run, std::int64_t sequence, const StateRow& r);
  void put(std::int64_t run, std::int64_t sequence, const ProvenanceRow& r);
  void put(std::int64_t run, std::int64_t sequence, const DigestRow& r);

  std::string path;
  FileLock lock;
  SQLite::Database db;
  ConfigTable configs{db};
  std::unordered_map<std::string, std::unique_ptr<SQLite::Statement>> statements;
  std::unordered_map<std::string, std::int64_t> runs, metrics, layers, readouts, tensor_lists;
  std::vector<RunTable> run_tables;
};

FileLock StoreWriter::Impl::make_lock(const std::string& path) {
  expect_database_place(path);
  expect_writable_folder(path);
  expect_one_name(path);
  return FileLock(path + ".lock");
}

SQLite::Database StoreWriter::Impl::make_database(const std::string& path) {
  return guarded(path, "opening the database", [&path] {
    const std::vector<EmbeddedFile> files = migration_files(embedded_sql());
    if (path_exists(path)) {  // looked at read-only: a refused file stays untouched
      expect_own_file(path, static_cast<int>(files.size()));
      SQLite::Database look = open_read_only(path);
      checked_version(look, path, static_cast<int>(files.size()));
    }
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | SQLite::OPEN_URI,
                        kBusyTimeout_ms);
    db.exec("PRAGMA synchronous = FULL");
    migrate(db, path, files);
    db.execAndGet(fmt::format("PRAGMA journal_mode = {}", journal_mode_for(folder_of(path))));
    db.exec("PRAGMA foreign_keys = ON");
    db.exec("BEGIN IMMEDIATE");
    add_config_columns(db);
    db.exec("COMMIT");
    refresh_views(db, views_sql(db));
    return db;
  });
}

// Leaves one plain file where no reader is in the way; a reader just keeps the log beside it.
StoreWriter::Impl::~Impl() {
  statements.clear();
  try {
    db.setBusyTimeout(0);
    db.execAndGet("PRAGMA journal_mode = DELETE");
  } catch (const SQLite::Exception&) {
  }
}

SQLite::Statement& StoreWriter::Impl::statement(const std::string& sql) {
  std::unique_ptr<SQLite::Statement>& s = statements[sql];
  if (!s) s = std::make_unique<SQLite::Statement>(db, sql);
  s->tryReset();
  s->clearBindings();
  return *s;
}

template <class F>
void StoreWriter::Impl::transaction(const std::string& doing, F&& action) {
  try {
    guarded(path, doing, [&] {
      SQLite::Transaction t(db, SQLite::TransactionBehavior::IMMEDIATE);
      action();
      t.commit();
    });
  } catch (...) {
    statements.clear();
    runs.clear();
    metrics.clear();
    layers.clear();
    readouts.clear();
    tensor_lists.clear();
    throw;
  }
}

std::int64_t StoreWriter::Impl::run_key(const std::string& id) {
  const auto known = runs.find(id);
  if (known != runs.end()) return known->second;
  SQLite::Statement& s = statement("SELECT key FROM run WHERE id = ?");
  s.bind(1, id);
  if (!s.executeStep())
    throw StoreError(fmt::format("{}: run \"{}\" is not there; add it before its rows", path, id));
  const std::int64_t key = s.getColumn(0).getInt64();
  s.tryReset();
  return runs[id] = key;
}

std::int64_t StoreWriter::Impl::name_key(const char* table,
                                         std::unordered_map<std::string, std::int64_t>& cache,
                                         const std::string& name) {
  const auto known = cache.find(name);
  if (known != cache.end()) return known->second;
  SQLite::Statement& add =
      statement(fmt::format("INSERT INTO {} (name) VALUES (?){}", table, kNoConflict));
  add.bind(1, name);
  add.exec();
  SQLite::Statement& s = statement(fmt::format("SELECT key FROM {} WHERE name = ?", table));
  s.bind(1, name);
  s.executeStep();
  const std::int64_t key = s.getColumn(0).getInt64();
  s.tryReset();
  return cache[name] = key;
}

void StoreWriter::Impl::add_run(const RunRecord& run) {
  SQLite::Statement& s = statement(
      "INSERT INTO run (id, canonical, setting, weights, attention, scenario, strategy, model, "
      "data,"
      " seed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS INTEGER)) ON CONFLICT (id) DO NOTHING");
  s.bind(1, run.id);
  s.bind(2, run.canonical);
  s.bind(3, setting_of(run.canonical));
  int index = 4;
  for (const char* key :
       {"weights", "attention", "scenario", "strategy", "model", "data", "seed"}) {
    if (const std::string* value = find_value(run, key)) s.bind(index, *value);
    ++index;
  }
  if (s.exec() > 0) configs.add(run_key(run.id), run.values);
}

void StoreWriter::Impl::add_event(std::int64_t run, const std::string& kind,
                                  const std::string& message) {
  SQLite::Statement& s = statement(
      "INSERT INTO event (run, attempt, kind, message)"
      " VALUES (?1, (SELECT attempt FROM run WHERE key = ?1), ?2, ?3)");
  s.bind(1, run);
  s.bind(2, kind);
  s.bind(3, message);
  s.exec();
}

// The lock is ours, so nobody trains what is said to be running.
void StoreWriter::Impl::stop_abandoned_runs() {
  constexpr char kMessage[] = "the program that wrote its results was killed";
  SQLite::Statement any(db, "SELECT EXISTS (SELECT 1 FROM run WHERE state = 'running')");
  any.executeStep();
  const bool abandoned = any.getColumn(0).getInt() != 0;
  any.reset();
  if (!abandoned) return;
  transaction("noting runs whose writer was killed", [&] {
    SQLite::Statement& event = statement(
        "INSERT INTO event (run, attempt, kind, message)"
        " SELECT key, attempt, 'stopped', ? FROM run WHERE state = 'running'");
    event.bind(1, kMessage);
    event.exec();
    SQLite::Statement& stop =
        statement("UPDATE run SET state = 'stopped', message = ? WHERE state = 'running'");
    stop.bind(1, kMessage);
    stop.exec();
  });
}

// A run's rows in all tables but those named.
void StoreWriter::Impl::remove_rows(std::int64_t run, const std::set<std::string>& but) {
  if (run_tables.empty()) run_tables = tables_of_runs(db);
  for (const RunTable& table : run_tables) {
    if (but.count(table.name) != 0) continue;
    SQLite::Statement& rows = statement(fmt::format("DELETE FROM {} WHERE run = ?", table.name));
    rows.bind(1, run);
    rows.exec();
  }
}

void StoreWriter::Impl::remove_run(const std::string& id) {
  SQLite::Statement& find = statement("SELECT key FROM run WHERE id = ?");
  find.bind(1, id);
  if (!find.executeStep()) return;
  const std::int64_t key = find.getColumn(0).getInt64();
  find.tryReset();
  remove_rows(key, {});
  SQLite::Statement& run = statement("DELETE FROM run WHERE key = ?");
  run.bind(1, key);
  run.exec();
  runs.erase(id);
}

std::int64_t StoreWriter::Impl::readout_key(const ReadoutRecord& readout) {
  const std::string identity = identity_of(readout);
  const auto known = readouts.find(identity);
  if (known != readouts.end()) return known->second;
  SQLite::Statement& add = statement(
      "INSERT INTO readout (identity, attention_readout, attention_budget, attention_unit,"
      " weights_readout, weights_budget, weights_unit, masked, net, context, scaling, statistics,"
      " condition) VALUES (?, ?, ?, nullif(?, ''), ?, ?, nullif(?, ''), ?, nullif(?, ''), ?,"
      " nullif(?, ''), nullif(?, ''), nullif(?, '')) ON CONFLICT DO NOTHING");
  add.bind(1, identity);
  int column = 2;
  for (const LevelRead* level : {&readout.attention, &readout.weights}) {
    add.bind(column, level->stream);
    if (level->budget) add.bind(column + 1, *level->budget);
    add.bind(column + 2, level->unit);
    column += 3;
  }
  add.bind(8, readout.masked ? 1 : 0);
  add.bind(9, readout.net);
  if (readout.context) add.bind(10, *readout.context);
  add.bind(11, readout.scaling);
  add.bind(12, readout.statistics);
  add.bind(13, readout.condition);
  add.exec();
  SQLite::Statement& s = statement("SELECT key FROM readout WHERE identity = ?");
  s.bind(1, identity);
  s.executeStep();
  const std::int64_t key = s.getColumn(0).getInt64();
  s.tryReset();
  return readouts[identity] = key;
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const EvalRow& r) {
  const std::int64_t readout = readout_key(r.readout);
  SQLite::Statement& s = statement(
      "INSERT INTO eval (run, sequence, readout, stage, step, task, split, n_correct, n_total, "
      "loss)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, sequence) DO NOTHING");
  s.bind(1, run);
  s.bind(2, sequence);
  s.bind(3, readout);
  s.bind(4, r.stage);
  s.bind(5, r.step);
  s.bind(6, r.task);
  s.bind(7, r.split);
  s.bind(8, r.n_correct);
  s.bind(9, r.n_total);
  s.bind(10, r.loss);
  if (s.exec() == 0) return;  // known already, and counted in the result
  if (!r.example_bits.empty()) {
    SQLite::Statement& bits =
        statement("INSERT INTO eval_bits (run, sequence, bits) VALUES (?, ?, ?)");
    bits.bind(1, run);
    bits.bind(2, sequence);
    bits.bind(3, r.example_bits.data(), static_cast<int>(r.example_bits.size()));
    bits.exec();
  }
  add_to_result(run, readout, r);
}

// A later stage or step begins anew, the same one adds a task, and an earlier one changes nothing.
void StoreWriter::Impl::add_to_result(std::int64_t run, std::int64_t readout, const EvalRow& r) {
  SQLite::Statement& s = statement(
      "INSERT INTO result (run, readout, split, stage, step, n_correct, n_total, loss_sum)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 * ?7)"
      " ON CONFLICT (run, readout, split) DO UPDATE SET"
      " n_correct = iif((stage, step) = (?4, ?5), n_correct, 0) + excluded.n_correct,"
      " n_total = iif((stage, step) = (?4, ?5), n_total, 0) + excluded.n_total,"
      " loss_sum = iif((stage, step) = (?4, ?5), loss_sum, 0) + excluded.loss_sum,"
      " stage = excluded.stage, step = excluded.step"
      " WHERE (excluded.stage, excluded.step) >= (stage, step)");
  s.bind(1, run);
  s.bind(2, readout);
  s.bind(3, r.split);
  s.bind(4, r.stage);
  s.bind(5, r.step);
  s.bind(6, r.n_correct);
  s.bind(7, r.n_total);
  s.bind(8, r.loss);
  s.exec();
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const MetricRow& r) {
  const std::int64_t layer = name_key("layer_name", layers, r.layer);
  const std::int64_t name = name_key("metric_name", metrics, r.name);
  SQLite::Statement& s = statement(
      "INSERT INTO metric (run, sequence, step, layer, name, value) VALUES (?, ?, ?, ?, ?, ?)"
      " ON CONFLICT (run, sequence) DO NOTHING");
  s.bind(1, run);
  s.bind(2, sequence);
  s.bind(3, r.step);
  s.bind(4, layer);
  s.bind(5, name);
  s.bind(6, r.value);
  s.exec();
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const TopologyRow& r) {
  const std::int64_t layer = name_key("layer_name", layers, r.layer);
  SQLite::Statement& s = statement(
      "INSERT INTO topology_update (run, sequence, step, layer, nnz, dropped, grown, mask_hash)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, sequence) DO NOTHING");
  s.bind(1, run);
  s.bind(2, sequence);
  s.bind(3, r.step);
  s.bind(4, layer);
  s.bind(5, r.nnz);
  s.bind(6, r.dropped);
  s.bind(7, r.grown);
  s.bind(8, r.mask_hash);
  s.exec();
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const StateRow& r) {
  expect_state(r.state);
  SQLite::Statement& s = statement(
      "UPDATE run SET state = ?, step = ?, train_seconds = ?, eval_seconds = ?, probe_seconds = ?,"
      " train_flops = ?, inference_flops = ?, message = ?, state_sequence = ?9"
      " WHERE key = ?10 AND state_sequence < ?9");
  s.bind(1, r.state);
  s.bind(2, r.step);
  s.bind(3, r.train_seconds);
  s.bind(4, r.eval_seconds);
  s.bind(5, r.probe_seconds);
  s.bind(6, r.train_flops);
  s.bind(7, r.inference_flops);
  s.bind(8, r.message);
  s.bind(9, sequence);
  s.bind(10, run);
  s.exec();
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const ProvenanceRow& r) {
  const std::string json = canonical_json(r.json);
  const std::string id = sha256(json);
  SQLite::Statement& s =
      statement(fmt::format("INSERT INTO provenance (id, json) VALUES (?, ?){}", kNoConflict));
  s.bind(1, id);
  s.bind(2, json);
  s.exec();
  SQLite::Statement& link = statement(
      "INSERT INTO run_provenance (run, sequence, provenance, attempt)"
      " VALUES (?1, ?2, ?3, (SELECT attempt FROM run WHERE key = ?1))"
      " ON CONFLICT (run, sequence, provenance) DO NOTHING");
  link.bind(1, run);
  link.bind(2, sequence);
  link.bind(3, id);
  link.exec();
  SQLite::Statement& newest = statement(
      "UPDATE run SET provenance = (SELECT provenance FROM run_provenance WHERE run = ?1"
      " ORDER BY attempt DESC, sequence DESC LIMIT 1) WHERE key = ?1");
  newest.bind(1, run);
  newest.exec();
}

void StoreWriter::Impl::put(std::int64_t run, std::int64_t sequence, const DigestRow& r) {
  const std::int64_t tensors =
      name_key("tensor_list", tensor_lists, nlohmann::json(r.tensors).dump());
  std::string bytes;
  for (const std::uint64_t digest : r.digests) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(digest >> shift);
  }
  SQLite::Statement& s = statement(
      "INSERT INTO digest (run, sequence, step, tensors, digests) VALUES (?, ?, ?, ?, ?)"
      " ON CONFLICT (run, sequence) DO NOTHING");
  s.bind(1, run);
  s.bind(2, sequence);
  s.bind(3, r.step);
  s.bind(4, tensors);
  s.bind(5, bytes.data(), static_cast<int>(bytes.size()));
  s.exec();
}

std::string database_file(const std::string& path) {
  namespace fs = std::filesystem;
  constexpr int kMostLinks = 40;  // as the kernel follows
  fs::path file = path;
  std::error_code error;
  for (int i = 0; i < kMostLinks && fs::is_symlink(file, error); ++i) {
    const fs::path target = fs::read_symlink(file, error);
    if (error) break;
    file = target.is_absolute() ? target : file.parent_path() / target;
  }
  return file.string();
}

StoreWriter::StoreWriter(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
StoreWriter::~StoreWriter() = default;

void StoreWriter::add_grid(const std::string& name, const std::string& file,
                           const std::string& text, const std::vector<std::string>& run_ids) {
  Impl& m = *impl_;
  m.transaction("adding a grid", [&] {
    SQLite::Statement& s = m.statement(
        "INSERT INTO grid (name, file, text, used)"
        " VALUES (?, ?, ?, (SELECT 1 + coalesce(max(used), 0) FROM grid)) ON CONFLICT (name)"
        " DO UPDATE SET file = excluded.file, text = excluded.text, used = excluded.used");
    s.bind(1, name);
    s.bind(2, file);
    s.bind(3, text);
    s.exec();
    SQLite::Statement& clear = m.statement("DELETE FROM grid_run WHERE grid = ?");
    clear.bind(1, name);
    clear.exec();
    for (std::size_t i = 0; i < run_ids.size(); ++i) {
      SQLite::Statement& member = m.statement(fmt::format(
          "INSERT INTO grid_run (grid, position, run_id) VALUES (?, ?, ?){}", kNoConflict));
      member.bind(1, name);
      member.bind(2, static_cast<std::int64_t>(i));
      member.bind(3, run_ids[i]);
      member.exec();
    }
  });
}

void StoreWriter::add_runs(const std::vector<RunRecord>& runs) {
  impl_->transaction("adding runs", [&] {
    for (const RunRecord& run : runs) impl_->add_run(run);
  });
}

void StoreWriter::keep_storage(const std::vector<std::string>& runs, const std::string& storage) {
  Impl& m = *impl_;
  m.transaction("keeping the storage of runs", [&] {
    for (const std::string& run : runs) {
      SQLite::Statement& s = m.statement(
          "UPDATE run SET storage = ? WHERE key = ? AND (storage IS NULL OR attempt = 0)");
      s.bind(1, storage);
      s.bind(2, m.run_key(run));
      s.exec();
    }
  });
}

void StoreWriter::remove_runs(const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  impl_->transaction("removing runs", [&] {
    for (const std::string& id : ids) impl_->remove_run(id);
  });
}

void StoreWriter::forget_rows(const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  Impl& m = *impl_;
  m.transaction("forgetting rows of runs that begin anew", [&] {
    for (const std::string& id : ids) {
      const std::int64_t key = m.run_key(id);
      m.remove_rows(key, {"config", "event", "run_provenance"});
      SQLite::Statement& run =
          m.statement("UPDATE run SET last_sequence = -1, step = 0 WHERE key = ?");
      run.bind(1, key);
      run.exec();
    }
  });
}

void StoreWriter::set_state(const std::string& run, const std::string& state,
                            const std::string& message) {
  expect_state(state);
  Impl& m = *impl_;
  m.transaction("setting a run's state", [&] {
    const std::int64_t key = m.run_key(run);
    SQLite::Statement& s = m.statement("UPDATE run SET state = ?, message = ? WHERE key = ?");
    s.bind(1, state);
    s.bind(2, message);
    s.bind(3, key);
    s.exec();
    m.add_event(key, state, message);
  });
}

std::int64_t StoreWriter::begin_attempt(const std::string& run) {
  Impl& m = *impl_;
  std::int64_t attempt = 0;
  m.transaction("beginning an attempt", [&] {
    const std::int64_t key = m.run_key(run);
    SQLite::Statement& s = m.statement(
        "UPDATE run SET state = 'running', message = '', state_sequence = -1, attempt = attempt + 1"
        " WHERE key = ? RETURNING attempt");
    s.bind(1, key);
    s.executeStep();
    attempt = s.getColumn(0).getInt64();
    s.tryReset();
    m.add_event(key, "attempt", "");
  });
  return attempt;
}

void StoreWriter::insert(const std::vector<Row>& rows) {
  Impl& m = *impl_;
  m.transaction("inserting rows", [&] {
    std::map<std::int64_t, std::int64_t> last;
    for (const Row& row : rows) {
      const std::int64_t key = m.run_key(row.run);
      std::visit([&](const auto& body) { m.put(key, row.sequence, body); }, row.body);
      const auto at = last.emplace(key, row.sequence).first;
      at->second = std::max(at->second, row.sequence);
    }
    for (const auto& [key, sequence] : last) {
      SQLite::Statement& s =
          m.statement("UPDATE run SET last_sequence = max(last_sequence, ?) WHERE key = ?");
      s.bind(1, sequence);
      s.bind(2, key);
      s.exec();
    }
  });
}

void StoreWriter::add_tuning(const std::vector<TuningRecord>& trials) {
  Impl& m = *impl_;
  m.transaction("adding tuning trials", [&] {
    std::set<std::pair<std::string, std::string>> methods;
    for (const TuningRecord& t : trials) methods.emplace(t.grid, t.method);
    for (const auto& [grid, method] : methods) {
      SQLite::Statement& clear = m.statement("DELETE FROM tuning WHERE grid = ? AND method = ?");
      clear.bind(1, grid);
      clear.bind(2, method);
      clear.exec();
    }
    for (const TuningRecord& t : trials) {
      SQLite::Statement& s = m.statement(
          "INSERT OR REPLACE INTO tuning (grid, method, trial, seed, run_id, score, chosen, "
          "readout,"
          " round, trials) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
      s.bind(1, t.grid);
      s.bind(2, t.method);
      s.bind(3, t.trial);
      s.bind(4, t.seed);
      s.bind(5, t.run);
      s.bind(6, t.score);
      s.bind(7, t.chosen ? 1 : 0);
      s.bind(8, t.readout);
      s.bind(9, t.round);
      s.bind(10, t.trials);
      s.exec();
    }
  });
}

void StoreWriter::add_tuning_plan(const TuningPlanRecord& plan) {
  Impl& m = *impl_;
  m.transaction("adding a tuning plan", [&] {
    SQLite::Statement& s = m.statement(
        "INSERT OR REPLACE INTO tuning_plan (grid, trials, seeds, axes, cells, measure)"
        " VALUES (?, ?, ?, ?, ?, ?)");
    s.bind(1, plan.grid);
    s.bind(2, plan.trials);
    s.bind(3, plan.seeds);
    s.bind(4, plan.axes);
    s.bind(5, plan.cells);
    s.bind(6, plan.measure);
    s.exec();
    SQLite::Statement& clear = m.statement("DELETE FROM tuned_run WHERE grid = ?");
    clear.bind(1, plan.grid);
    clear.exec();
    for (const auto& [run, method] : plan.runs) {
      SQLite::Statement& member =
          m.statement("INSERT OR REPLACE INTO tuned_run (grid, run_id, method) VALUES (?, ?, ?)");
      member.bind(1, plan.grid);
      member.bind(2, run);
      member.bind(3, method);
      member.exec();
    }
    SQLite::Statement& stale = m.statement(
        "DELETE FROM tuning WHERE grid = ?1 AND method NOT IN (SELECT method FROM tuned_run WHERE"
        " grid = ?1)");
    stale.bind(1, plan.grid);
    stale.exec();
  });
}

std::vector<std::string> StoreWriter::faults() {
  return guarded(impl_->path, "checking the database", [&] { return faults_of(impl_->db); });
}

namespace {

// For ATTACH, which takes a name alone: the file must stay as it is.
std::string read_only_uri(const std::string& path) {
  std::string uri = path.rfind('/', 0) == 0 ? "file://" : "file:";
  for (const char c : path) {
    uri += c == '%' || c == '?' || c == '#'
               ? fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)))
               : std::string(1, c);
  }
  return uri + "?mode=ro";
}

bool is_same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

}  // namespace

MergeReport StoreWriter::merge(const MergeRequest& request) {
  Impl& m = *impl_;
  if (is_same_file(request.file, m.path)) {
    throw ConfigError(request.file + " is the database itself; name another one to merge into it");
  }
  const TemporaryFolder folder("tandem_merge");
  const std::string source = attachable(request.file, folder.path());
  guarded(m.path, "opening " + request.file, [&] {
    SQLite::Statement attach(m.db, "ATTACH ? AS source");
    attach.bind(1, read_only_uri(source));
    attach.exec();
  });
  struct Detach {
    Impl& m;
    ~Detach() {
      m.statements.clear();
      sqlite3_exec(m.db.getHandle(), "DETACH source", nullptr, nullptr, nullptr);
    }
  } detach{m};
  MergeReport report;
  m.transaction("merging " + request.file, [&] {
    report = merge_source(m.db, request, [&m](const std::string& run) { m.remove_run(run); },
                          {m.path, request.file});
  });
  m.runs.clear();
  return report;
}

std::pair<std::int64_t, std::int64_t> StoreWriter::prune(const std::vector<std::string>& runs,
                                                         bool dry) {
  Impl& m = *impl_;
  const auto pages = [&m](const char* which) {
    return m.db.execAndGet(fmt::format("PRAGMA {}", which)).getInt64();
  };
  const auto bytes = [&] { return pages("page_count") * pages("page_size"); };
  const std::int64_t before = bytes();
  std::int64_t after = before;
  const auto drop = [&] {
    for (const std::string& run : runs) m.remove_run(run);
    m.db.exec(
        "DELETE FROM event WHERE run IN (SELECT key FROM run WHERE state IN ('done', 'diverged'))"
        " AND attempt < (SELECT attempt FROM run r WHERE r.key = event.run)");
    m.db.exec("DELETE FROM provenance WHERE id NOT IN (SELECT provenance FROM run_provenance)");
  };
  if (!dry) {
    m.transaction("dropping what is not needed", drop);
    m.statements.clear();
    guarded(m.path, "giving unused pages back", [&] {
      m.db.exec("VACUUM");
      m.db.execAndGet("PRAGMA wal_checkpoint(TRUNCATE)");
    });
    return {before, bytes()};
  }
  guarded(m.path, "looking for what is not needed", [&] {
    SQLite::Transaction undone(m.db, SQLite::TransactionBehavior::IMMEDIATE);
    drop();
    after = bytes() - pages("freelist_count") * pages("page_size");
  });
  m.statements.clear();
  m.runs.clear();
  return {before, after};
}

void StoreWriter::add_references(const std::vector<ReferenceRecord>& numbers) {
  Impl& m = *impl_;
  m.transaction("adding published numbers", [&] {
    for (const ReferenceRecord& r : numbers) {
      SQLite::Statement& s = m.statement(
          "INSERT INTO reference (source, method, setting, metric, value, spread, spread_kind, n,"
          " note) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, method, setting, metric)"
          " DO UPDATE SET value = excluded.value, spread = excluded.spread, spread_kind ="
          " excluded.spread_kind, n = excluded.n, note = excluded.note");
      s.bind(1, r.source);
      s.bind(2, r.method);
      s.bind(3, r.setting);
      s.bind(4, r.metric);
      s.bind(5, r.value);
      if (!r.spread_kind.empty()) {
        s.bind(6, r.spread);
        s.bind(7, r.spread_kind);
      }
      if (r.n > 0) s.bind(8, r.n);
      s.bind(9, r.note);
      s.exec();
    }
  });
}

}  // namespace tandem
