// What the foreign keys of the file say of its tables. Removing, merging and sharing runs go by
// this, so that a table that is added later is cared for without another list. Private to the
// store.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <string>
#include <utility>
#include <vector>

namespace tandem {

// A table of names, each stored once: other tables hold its column `key`.
struct Dictionary {
  std::string name;
  std::string natural;               // the column that says what a row is, in every file alike
  std::vector<std::string> columns;  // all but key
};

// A table whose rows belong to a run, by the column `run`.
struct RunTable {
  std::string name;
  std::vector<std::string> columns;  // all but run, and but a key of its own
  std::vector<std::pair<std::string, std::string>> references;  // column -> dictionary
  bool sequenced = false;  // its rows are what the run said, by sequence number
};

std::vector<std::string> columns_in_order(SQLite::Database& db, const std::string& table,
                                          const std::string& schema = "main");
std::vector<RunTable> tables_of_runs(SQLite::Database& db);  // sorted by name
std::vector<Dictionary> dictionaries(SQLite::Database& db);  // sorted by name

// "\"a\", \"b\"", each after `prefix`.
std::string column_list(const std::vector<std::string>& columns, const std::string& prefix = "");

}  // namespace tandem
