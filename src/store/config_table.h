// The table of configs: one row per run, one typed column per option of a run. Private to the store
// and the data dictionary, which names the same types.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/option.h"

namespace tandem {

// Options that have a column in `config`: those of a run which the table run itself does not hold.
std::vector<const Option*> config_options();
// The columns' type, as views show it: BIGINT (flags are 0 and 1), DOUBLE or TEXT.
const char* column_type(OptionType type);

// Names of a table's or a view's columns.
std::set<std::string> columns_of(SQLite::Database& db, const std::string& table);

// Adds columns for options that the file does not have yet.
void add_config_columns(SQLite::Database& db);

// The runs whose options these are differ in their seeds alone where this text is the same: a hash
// of the canonical config without its seeds.
std::string setting_of(const std::string& canonical);

// Writes rows, one statement for all of them.
class ConfigTable {
 public:
  explicit ConfigTable(SQLite::Database& db) : db_(db) {}
  // `values`: every option of the run, resolved. NULL is stored where no part of the run reads the
  // option. A run that is there is left as it is.
  void add(std::int64_t run, const std::vector<std::pair<std::string, std::string>>& values);

 private:
  SQLite::Database& db_;
  std::vector<const Option*> options_;
  std::string sql_;
  std::unique_ptr<SQLite::Statement> insert_;
};

// Functions of SQL that a migration calls: tandem_identity(...), tandem_setting(canonical).
void add_migration_functions(SQLite::Database& db);
// What a migration to version 4 can't do in SQL: rows of `config` from each run's canonical form.
void fill_configs(SQLite::Database& db);

}  // namespace tandem
