// A database as SQL text, which sqlite3 and this program restore. Private to the store.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

struct DumpOptions {
  std::vector<std::string> head = {};  // lines of comment
  // Called with each text value before it is written, to refuse one.
  std::function<void(const std::string& table, const std::string& column, const std::string& value)>
      look = {};
};

// Tables in the order in which they were made, rows by their keys; numbers with all of their bits.
void write_dump(SQLite::Database& db, const std::function<void(std::string_view)>& write,
                const DumpOptions& options = {});

// Makes the database `path` of a dump, .sql or .sql.xz. The text can reach no other file.
// StoreError where it is no whole dump of a results database, DataError where an .xz is damaged.
void restore_dump(const std::string& dump, const std::string& path);

}  // namespace tandem
