#include "store/tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"

namespace tandem {
namespace {

std::vector<std::string> names(SQLite::Database& db, const std::string& sql) {
  std::vector<std::string> found;
  SQLite::Statement rows(db, sql);
  while (rows.executeStep()) found.push_back(rows.getColumn(0).getString());
  return found;
}

}  // namespace

std::vector<std::string> columns_in_order(SQLite::Database& db, const std::string& table,
                                          const std::string& schema) {
  return names(db, fmt::format("SELECT name FROM pragma_table_info('{}', '{}') ORDER BY cid", table,
                               schema));
}

std::vector<RunTable> tables_of_runs(SQLite::Database& db) {
  std::vector<RunTable> tables;
  for (const std::string& name :
       names(db,
             "SELECT DISTINCT t.name FROM main.sqlite_schema t JOIN pragma_foreign_key_list(t.name)"
             " f WHERE t.type = 'table' AND f.\"table\" = 'run' ORDER BY t.name")) {
    RunTable table{name, columns_in_order(db, name), {}, false};
    std::erase_if(table.columns,
                  [](const auto& column) { return column == "run" || column == "key"; });
    table.sequenced =
        std::find(table.columns.begin(), table.columns.end(), "sequence") != table.columns.end();
    SQLite::Statement keys(db, fmt::format("SELECT \"from\", \"table\" FROM pragma_foreign_key_list"
                                           "('{}') WHERE \"to\" = 'key' AND \"table\" <> 'run'",
                                           name));
    while (keys.executeStep()) {
      table.references.emplace_back(keys.getColumn(0).getString(), keys.getColumn(1).getString());
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

std::vector<Dictionary> dictionaries(SQLite::Database& db) {
  std::vector<Dictionary> found;
  for (const std::string& name :
       names(db,
             "SELECT DISTINCT f.\"table\" FROM main.sqlite_schema t JOIN pragma_foreign_key_list("
             "t.name) f WHERE t.type = 'table' AND f.\"to\" = 'key' AND f.\"table\" <> 'run'"
             " ORDER BY 1")) {
    Dictionary dictionary{name, "", columns_in_order(db, name)};
    std::erase(dictionary.columns, "key");
    dictionary.natural =
        names(db, fmt::format("SELECT c.name FROM pragma_index_list('{}') i JOIN"
                              " pragma_index_info(i.name) c WHERE i.\"unique\" = 1",
                              name))
            .at(0);
    found.push_back(std::move(dictionary));
  }
  return found;
}

std::string column_list(const std::vector<std::string>& columns, const std::string& prefix) {
  std::vector<std::string> quoted;
  for (const std::string& column : columns) quoted.push_back(prefix + "\"" + column + "\"");
  return join(quoted, ", ");
}

}  // namespace tandem
