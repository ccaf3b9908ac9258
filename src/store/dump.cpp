#include "store/dump.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "core/xz.h"
#include "store/merge.h"
#include "store/schema.h"
#include "store/sqlite_error.h"
#include "store/store.h"
#include "store/tables.h"

namespace tandem {
namespace {

constexpr int kRowsPerInsert = 200;

// SQLite 3.40 reads some decimal numbers one unit of the last place off, so that each text is read
// back; what none of them says right is written as a product or quotient, which is exact
// everywhere.
class RealText {
 public:
  explicit RealText(SQLite::Database& db) : read_(db, "SELECT CAST(? AS REAL)") {}

  std::string of(double value) {
    if (std::isinf(value)) return value > 0 ? "9e999" : "-9e999";
    for (std::string text : {fmt::format("{}", value), fmt::format("{:.17g}", value)}) {
      if (text.find_first_of(".e") == std::string::npos) text += ".0";
      if (read(text) == value) return text;
    }
    return product(value);
  }

 private:
  double read(const std::string& text) {
    read_.reset();
    read_.bind(1, text);
    read_.executeStep();
    return read_.getColumn(0).getDouble();
  }

  // A whole number times or through powers of two.
  static std::string product(double value) {
    constexpr int kDigits = 53, kMostShift = 62;
    int exponent = 0;
    const double mantissa = std::frexp(value, &exponent);
    std::string text =
        fmt::format("({}*1.0", static_cast<std::int64_t>(std::ldexp(mantissa, kDigits)));
    for (exponent -= kDigits; exponent != 0;) {
      const int shift = std::clamp(exponent, -kMostShift, kMostShift);
      text += fmt::format("{}{}", shift < 0 ? '/' : '*', std::int64_t{1} << std::abs(shift));
      exponent -= shift;
    }
    return text + ")";
  }

  SQLite::Statement read_;
};

std::string text_literal(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("''") : std::string(1, c);
  return quoted + "'";
}

std::string literal(const SQLite::Column& value, RealText& reals) {
  if (value.isNull()) return "NULL";
  if (value.isInteger()) return std::to_string(value.getInt64());
  if (value.isFloat()) return reals.of(value.getDouble());
  if (value.isBlob()) {
    return "X'" + to_hex(value.getBlob(), static_cast<std::size_t>(value.getBytes())) + "'";
  }
  return text_literal(value.getString());
}

struct SchemaObject {
  std::string type, name, sql;
};

std::vector<SchemaObject> objects(SQLite::Database& db) {
  std::vector<SchemaObject> found;
  SQLite::Statement rows(db,
                         "SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND"
                         " name NOT GLOB 'sqlite_*' ORDER BY rowid");
  while (rows.executeStep()) {
    found.push_back({rows.getColumn(0).getString(), rows.getColumn(1).getString(),
                     rows.getColumn(2).getString()});
  }
  return found;
}

// By their primary key, so that the text is that of the rows and not of the file's history.
std::string order_of(SQLite::Database& db, const std::string& table) {
  std::vector<std::string> key;
  SQLite::Statement rows(
      db, fmt::format("SELECT name FROM pragma_table_info('{}') WHERE pk > 0 ORDER BY pk", table));
  while (rows.executeStep()) key.push_back(rows.getColumn(0).getString());
  return column_list(key);
}

void write_rows(SQLite::Database& db, const std::string& table,
                const std::function<void(std::string_view)>& write, const DumpOptions& options) {
  SQLite::Statement rows(
      db, fmt::format("SELECT * FROM main.\"{}\" ORDER BY {}", table, order_of(db, table)));
  RealText reals(db);
  int in_statement = 0;
  while (rows.executeStep()) {
    std::string text =
        in_statement == 0 ? fmt::format("INSERT INTO \"{}\" VALUES\n(", table) : ",\n(";
    for (int i = 0; i < rows.getColumnCount(); ++i) {
      const SQLite::Column value = rows.getColumn(i);
      if (options.look && value.isText()) {
        options.look(table, rows.getColumnName(i), value.getString());
      }
      text += (i == 0 ? "" : ",") + literal(value, reals);
    }
    text += ")";
    if (++in_statement == kRowsPerInsert) {
      text += ";\n";
      in_statement = 0;
    }
    write(text);
  }
  if (in_statement > 0) write(";\n");
}

}  // namespace

void write_dump(SQLite::Database& db, const std::function<void(std::string_view)>& write,
                const DumpOptions& options) {
  for (const std::string& line : options.head) write("-- " + line + "\n");
  for (const char* pragma : {"application_id", "user_version"}) {
    write(fmt::format("PRAGMA {0} = {1};\n", pragma,
                      db.execAndGet(fmt::format("PRAGMA {}", pragma)).getInt64()));
  }
  write("BEGIN;\n");
  const std::vector<SchemaObject> all = objects(db);
  for (const SchemaObject& each : all) {
    if (each.type == "table") write(each.sql + ";\n");
  }
  for (const SchemaObject& each : all) {
    if (each.type == "table") write_rows(db, each.name, write, options);
  }
  for (const SchemaObject& each : all) {
    if (each.type != "table") write(each.sql + ";\n");
  }
  write("COMMIT;\n");
}

void restore_dump(const std::string& dump, const std::string& path) {
  const std::string bytes = read_file(dump);
  const std::string text = dump.ends_with(".xz") ? xz_decompress(bytes, dump) : bytes;
  try {
    SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    sqlite3_limit(db.getHandle(), SQLITE_LIMIT_ATTACHED, 0);  // nor VACUUM INTO
    db.exec("PRAGMA journal_mode = OFF");
    db.exec("PRAGMA synchronous = OFF");
    db.exec(text);
    const bool whole = sqlite3_get_autocommit(db.getHandle()) != 0 && db.tableExists("run");
    if (whole && checked_version(db, dump, kStoreVersion) > 0) return;
  } catch (const SQLite::Exception& error) {
    throw StoreError(
        fmt::format("{}: expected the SQL text of a results database, as `tandem db "
                    "share` and `tandem db export --format=sql` write it: {}",
                    dump, error.what()));
  }
  throw StoreError(
      fmt::format("{}: the SQL text makes no whole results database; get the file again", dump));
}

void dump_runs(const std::string& database, const std::optional<std::vector<std::string>>& grids,
               const std::function<void(std::string_view)>& write) {
  const TemporaryFolder folder("tandem_dump");
  std::string file = database;
  if (grids) {
    file = folder / "runs.sqlite";
    StoreWriter(file).merge({.file = database, .grids = grids});
  } else {
    file = attachable(database, folder.path());
  }
  guarded(database, "writing SQL", [&] {
    SQLite::Database db = open_read_only(file);
    SQLite::Transaction snapshot(db);
    write_dump(db, write, {.head = {"A Tandem results database. Restore: sqlite3 NEW < FILE"}});
  });
}

}  // namespace tandem
