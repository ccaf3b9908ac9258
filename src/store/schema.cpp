// Versions are counted by user_version, the program is named by application_id. Both are set inside
// the migrating transaction, so that a file is either empty or whole.
#include "store/schema.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>

#include "config/data_score.h"
#include "config/option.h"
#include "config/part.h"
#include "config/strategy_start.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "store/config_table.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr char kFolder[] = "src/store/";
constexpr int kConfigTableVersion = 4;  // whose rows are filled from canonical forms

bool is_migration(const std::string& path) {
  const std::size_t at = sizeof(kFolder) - 1;
  return path.rfind(kFolder, 0) == 0 && path.size() > at + 5 &&
         path.find_first_not_of("0123456789", at) == at + 4 && path[at + 4] == '_';
}

int number_of(const std::string& path) { return std::stoi(path.substr(sizeof(kFolder) - 1, 4)); }

int pragma(SQLite::Database& db, const char* name) {
  return db.execAndGet(fmt::format("PRAGMA {}", name)).getInt();
}

// `there`: columns that the file has; one that an older program wrote lacks those of newer options,
// which its runs did not read.
std::string config_columns(const std::set<std::string>& there) {
  std::string sql;
  for (const Option* o : config_options()) {
    if (there.count(o->name) != 0) {
      sql += fmt::format("  c.\"{}\",\n", o->name);
    } else {
      sql += fmt::format("  CAST(NULL AS {}) AS \"{}\",\n", column_type(o->type), o->name);
    }
  }
  return sql;
}

// As releases before typed configs had them: neutral values where nothing reads an option, flags in
// words, all with the types of that time.
std::string old_config_columns() {
  std::string sql;
  for (const Option* o : config_options()) {
    const std::string value = fmt::format("v.\"{}\"", o->name);
    const std::string neutral = fmt::format("nullif('{}', '')", o->neutral);
    if (o->type == OptionType::kFlag) {
      sql += fmt::format(
          "  CASE {0} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE {1} END AS \"{2}\",\n", value,
          neutral, o->name);
    } else {
      const char* type = o->type == OptionType::kInt    ? "INTEGER"
                         : o->type == OptionType::kReal ? "REAL"
                                                        : "TEXT";
      sql +=
          fmt::format("  CAST(coalesce({}, {}) AS {}) AS \"{}\",\n", value, neutral, type, o->name);
    }
  }
  return sql;
}

std::string quoted(std::vector<std::string> names) {
  for (std::string& name : names) name = "'" + name + "'";
  return join(names, ", ");
}

std::vector<std::string> seed_names() {
  std::vector<std::string> names;
  for (const Option& o : all_options())
    if (is_seed(o.name)) names.push_back(o.name);
  return names;
}

// All seeds of a run as one text, from its rows r of run and c of config.
std::string seeds_of_run(const std::set<std::string>& there) {
  std::string sql = "r.seed";
  for (const std::string& name : seed_names()) {
    if (there.count(name) != 0) sql += fmt::format(" || ',' || coalesce(c.\"{}\", '')", name);
  }
  return sql;
}

// What runs of other strategies may differ in and still be compared with one joint run: strategies'
// own options, and what says only what is measured.
std::vector<std::string> names_beside_cell() {
  // Joint training has no switches that `blur` could take the edge off.
  std::set<std::string> names = {"strategy", "final", "blur"};
  for (const Part& strategy : parts_of("strategy")) {
    names.insert(strategy.uses.begin(), strategy.uses.end());
  }
  for (const Option& o : all_options()) {
    if (is_seed(o.name) || o.group == "evaluation") names.insert(o.name);
  }
  return {names.begin(), names.end()};
}

// The file's own views (main), or those of the connection (temp).
void drop_views(SQLite::Database& db, const std::string& schema) {
  std::vector<std::string> old;
  SQLite::Statement names(db,
                          fmt::format("SELECT name FROM {}.sqlite_schema WHERE type = 'view' AND"
                                      " name GLOB 'v_*'",
                                      schema));
  while (names.executeStep()) old.push_back(names.getColumn(0).getString());
  names.reset();
  for (const std::string& name : old) db.exec(fmt::format("DROP VIEW {}.\"{}\"", schema, name));
}

// What a migration renames is not named by views any more, and refresh_views() makes them anew.
void drop_own_views(SQLite::Database& db) {
  drop_views(db, "main");
  db.exec("DELETE FROM meta WHERE key = 'views'");
}

bool has_views(SQLite::Database& db, const std::string& hash) {
  SQLite::Statement known(db, "SELECT value FROM meta WHERE key = 'views'");
  return known.executeStep() && known.getColumn(0).getString() == hash;
}

}  // namespace

std::vector<EmbeddedFile> migration_files(const std::vector<EmbeddedFile>& all) {
  std::vector<EmbeddedFile> files;
  std::copy_if(all.begin(), all.end(), std::back_inserter(files),
               [](const EmbeddedFile& f) { return is_migration(f.path); });
  std::sort(files.begin(), files.end(),
            [](const EmbeddedFile& a, const EmbeddedFile& b) { return a.path < b.path; });
  for (std::size_t i = 0; i < files.size(); ++i)
    if (number_of(files[i].path) != static_cast<int>(i) + 1)
      throw StoreError(
          fmt::format("migration {:04} is missing or doubled near {}", i + 1, files[i].path));
  return files;
}

namespace {

void expect_identity(std::int64_t application, std::int64_t version, const std::string& path,
                     int newest) {
  if (application != kApplicationId)
    throw StoreError(fmt::format(
        "{} is an SQLite file of another program (application_id {:#x}, expected {:#x}); it was "
        "left as it is. Choose another file with --db",
        path, static_cast<unsigned>(application), static_cast<unsigned>(kApplicationId)));
  if (version > newest)
    throw StoreError(fmt::format(
        "{} has schema version {}, this program knows versions up to {}; the file was left as it "
        "is. Use the newer Tandem that wrote it, or choose another file with --db",
        path, version, newest));
}

// A number of SQLite's file header.
std::int64_t big_endian(const std::string& header, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    value = value << 8 | static_cast<unsigned char>(header[i]);
  }
  return value;
}

}  // namespace

int checked_version(SQLite::Database& db, const std::string& path, int newest) {
  const int application = pragma(db, "application_id");
  const int version = pragma(db, "user_version");
  if (application == 0 && version == 0 &&
      db.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0)
    return 0;
  expect_identity(application, version, path, newest);
  return version;
}

void expect_own_file(const std::string& path, int newest) {
  constexpr std::size_t kHeaderBytes = 100, kVersionAt = 60, kApplicationAt = 68;
  constexpr std::string_view kMagic = "SQLite format 3";
  expect_database_place(path);
  if (!path_exists(path) || path_exists(path + "-wal")) return;
  std::string header(kHeaderBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(header.data(), kHeaderBytes) || header.rfind(kMagic, 0) != 0) return;
  const std::int64_t application = big_endian(header, kApplicationAt);
  const std::int64_t version = big_endian(header, kVersionAt);
  if (application != 0 || version != 0) expect_identity(application, version, path, newest);
}

void expect_database_place(const std::string& path) {
  if (!path_exists(path)) return;
  if (is_special_file(path))
    throw StoreError(fmt::format(
        "{} is a device or a pipe; --db names a file, for example results/tandem.sqlite", path));
  std::error_code unseen;
  if (!std::filesystem::is_directory(path, unseen)) return;
  throw StoreError(fmt::format(
      "{} is a folder; --db names the database's file, for example {}/tandem.sqlite", path, path));
}

void expect_results_database(const std::string& path) {
  if (path_exists(path)) return;
  throw StoreError(fmt::format(
      "{}: there is no such results database. `tandem run` and `tandem grid run` make one; --db "
      "names another",
      path));
}

SQLite::Database open_read_only(const std::string& path) {
  expect_database_place(path);
  constexpr char kTouch[] = "SELECT count(*) FROM sqlite_schema";
  SQLite::Database db(path, SQLite::OPEN_READONLY, kBusyTimeout_ms);
  try {
    db.execAndGet(kTouch);
  } catch (const SQLite::Exception& error) {
    if (error.getExtendedErrorCode() != SQLITE_READONLY_ROLLBACK) throw;
    SQLite::Database(path, SQLite::OPEN_READWRITE, kBusyTimeout_ms).execAndGet(kTouch);
  }
  return db;
}

void migrate(SQLite::Database& db, const std::string& path,
             const std::vector<EmbeddedFile>& files) {
  const int newest = static_cast<int>(files.size());
  if (checked_version(db, path, newest) == newest) return;
  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  const int from = checked_version(db, path, newest);
  add_migration_functions(db);
  if (from > 0 && from < newest) drop_own_views(db);
  for (int version = from; version < newest; ++version) {
    db.exec(files[version].text);
    if (version + 1 == kConfigTableVersion) fill_configs(db);
  }
  db.exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
  db.exec(fmt::format("PRAGMA user_version = {}", newest));
  transaction.commit();
}

std::string views_sql(SQLite::Database& db, bool shadowed) {
  const std::set<std::string> there = columns_of(db, "config");
  const std::vector<std::pair<std::string, std::string>> markers = {
      {"  {config columns}\n", config_columns(there)},
      {"  {old config columns}\n", old_config_columns()},
      {"{seed names}", quoted(seed_names())},
      {"{seeds}", seeds_of_run(there)},
      {"{not of a cell}", quoted(names_beside_cell())},
      {"{data told in bits}", quoted(data_told_in_bits())},
      {"{strategies that begin afresh}", quoted(strategies_that_begin_afresh())},
      {"{file}", shadowed ? "main." : ""},
  };
  for (const EmbeddedFile& file : embedded_sql()) {
    if (file.path != "analysis/views.sql") continue;
    std::string sql = file.text;
    for (const auto& [marker, text] : markers) {
      for (std::size_t at = 0; (at = sql.find(marker, at)) != std::string::npos;
           at += text.size()) {
        sql.replace(at, marker.size(), text);
      }
    }
    return sql;
  }
  return "";
}

void refresh_views(SQLite::Database& db, const std::string& sql) {
  const std::string hash = sha256(sql);
  if (has_views(db, hash)) return;
  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  drop_own_views(db);
  db.exec(sql);
  SQLite::Statement remember(
      db,
      "INSERT INTO meta (key, value) VALUES ('views', ?) ON CONFLICT (key) DO UPDATE SET value"
      " = excluded.value");
  remember.bind(1, hash);
  remember.exec();
  transaction.commit();
}

void use_own_views(SQLite::Database& db, bool always) {
  constexpr char kCreate[] = "CREATE VIEW ", kTemporary[] = "CREATE TEMP VIEW ";
  if (!always && has_views(db, sha256(views_sql(db)))) return;
  std::string sql = views_sql(db, /*shadowed=*/true);
  drop_views(db, "temp");
  for (std::size_t at = 0; (at = sql.find(kCreate, at)) != std::string::npos;)
    sql.replace(at, sizeof(kCreate) - 1, kTemporary);
  db.exec("PRAGMA temp_store = MEMORY");
  db.exec(sql);
}

const std::vector<std::string>& run_columns() {
  static const std::vector<std::string> columns = [] {
    SQLite::Database db(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate(db, ":memory:", migration_files(embedded_sql()));
    refresh_views(db, views_sql(db));
    std::vector<std::string> names;
    SQLite::Statement each(db, "SELECT name FROM pragma_table_info('v_run')");
    while (each.executeStep()) names.push_back(each.getColumn(0).getString());
    return names;
  }();
  return columns;
}

std::string journal_mode_for(const std::string& folder) {
  // NFS, SMB, CIFS, SMB2, Lustre, GPFS, AFS, Ceph, BeeGFS, 9P, FUSE: statfs(2)'s magic numbers.
  constexpr std::array<unsigned long, 11> kRemote = {0x6969,     0x517B,     0xFF534D42, 0xFE534D42,
                                                     0x0BD00BD0, 0x47504653, 0x5346414F, 0x00C36400,
                                                     0x19830326, 0x01021997, 0x65735546};
  struct statfs facts {};
  if (::statfs(folder.c_str(), &facts) != 0) return "truncate";
  const auto type = static_cast<unsigned long>(facts.f_type) & 0xFFFFFFFFul;
  return std::find(kRemote.begin(), kRemote.end(), type) == kRemote.end() ? "wal" : "truncate";
}

StoreFacts store_facts() {
  const int v = sqlite3_libversion_number();
  const bool defect = v >= 3007000 && v <= 3051002;
  StoreFacts facts;
  facts.sqlite_version = sqlite3_libversion();
  facts.journal_mode = "wal (local disks), truncate (network file systems)";
  facts.note =
      defect ? fmt::format(
                   "SQLite {} has the WAL-reset defect (3.7.0 to 3.51.2), which several "
                   "writing connections can trigger; a database has one writer, held by a "
                   "file lock, so it cannot happen here",
                   facts.sqlite_version)
             : fmt::format("SQLite {} is newer than the WAL-reset defect", facts.sqlite_version);
  facts.note +=
      ". Commits are synchronous (FULL). A database that was closed in order is one plain file.";
  return facts;
}

}  // namespace tandem
