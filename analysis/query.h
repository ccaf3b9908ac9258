// `tandem query`: SQL, or one of the named queries of analysis/queries/*.sql, as text.
#pragma once

#include <string>
#include <vector>

#include "analysis/wanted_runs.h"
#include "store/store.h"

namespace tandem {

struct NamedQuery {
  std::string name;   // file name without .sql
  std::string title;  // of its first line, "-- title"
  std::string sql;
  enum class Parameter { kNone, kGrid, kRun } parameter = Parameter::kNone;  // what ?1 is
};
const std::vector<NamedQuery>& named_queries();  // sorted by name

// Which runs a named query is about: those of a grid, and its trials; all; or, where nothing is
// said, those of the grid that was added last, but all where the newest run belongs to no grid. Of
// these, the ones that meet the conditions, on columns of v_run.
struct QueryScope {
  std::string grid = {};
  bool all = false;
  std::vector<Condition> where = {};
};

// `what` is SQL (it begins with SELECT, WITH, VALUES, EXPLAIN or PRAGMA) or a name. A named query's
// parameter may be left out. ConfigError for an unknown name, for a grid or a run that the database
// doesn't have, and for SQL with a scope. `note`: which runs were asked about, in a sentence; "" of
// SQL.
QueryResult run_query(const StoreReader& store, const std::string& what,
                      const std::vector<std::string>& parameters = {}, const QueryScope& scope = {},
                      std::string* note = nullptr);

enum class QueryFormat { kAligned, kCsv, kJson, kJsonLines, kMarkdown };
QueryFormat parse_query_format(const std::string& text);  // table, csv, json, jsonl, markdown

// kJson: an array of objects. What SQLite holds as a number is one, but for infinities, which JSON
// lacks: they are the texts "inf" and "-inf". Bytes that are no UTF-8 become U+FFFD. ConfigError
// where two columns have one name. Of a table of another source, a column is of numbers where each
// of its values is one.
std::string render(const QueryResult& result, QueryFormat format);
std::string csv_line(const std::vector<std::string>& cells);  // RFC 4180, ends in a newline

}  // namespace tandem
