// `tandem query`: SQL, or one of the named queries of analysis/queries/*.sql, as text.
#pragma once

#include <string>
#include <vector>

#include "store/store.h"

namespace tandem {

struct NamedQuery {
  std::string name;   // file name without .sql
  std::string title;  // of its first line, "-- title"
  std::string sql;
};
const std::vector<NamedQuery>& named_queries();  // sorted by name

// `what` is SQL (it begins with SELECT, WITH, VALUES, EXPLAIN or PRAGMA) or a name. A named query's
// parameters may be left out. ConfigError for an unknown name.
QueryResult run_query(const StoreReader& store, const std::string& what,
                      const std::vector<std::string>& parameters = {});

enum class QueryFormat { kAligned, kCsv, kJson };
QueryFormat parse_query_format(const std::string& text);  // "table", "csv", "json"

// kJson: an array of objects; a column is of numbers where each of its values is one.
std::string render(const QueryResult& result, QueryFormat format);
std::string csv_line(const std::vector<std::string>& cells);  // RFC 4180, ends in a newline

}  // namespace tandem
