// Results are text already; which columns are numbers is told from all of their values.
#include "analysis/query.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/embedded.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr char kFolder[] = "analysis/queries/";

bool looks_like_sql(const std::string& text) {
  std::string word;
  for (const char c : trim(text)) {
    if (!std::isalpha(static_cast<unsigned char>(c))) break;
    word += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  const bool first = word == "SELECT" || word == "WITH" || word == "VALUES" || word == "EXPLAIN" ||
                     word == "PRAGMA";
  return first && trim(text).size() > word.size();
}

std::vector<NamedQuery> read_queries() {
  std::vector<NamedQuery> queries;
  for (const EmbeddedFile& file : embedded_sql()) {
    if (file.path.rfind(kFolder, 0) != 0) continue;
    NamedQuery q;
    q.name = file.path.substr(sizeof(kFolder) - 1);
    q.name = q.name.substr(0, q.name.rfind(".sql"));
    q.title = trim(file.text.substr(0, file.text.find('\n')));
    q.title = trim(q.title.substr(std::min(q.title.find_first_not_of('-'), q.title.size())));
    q.sql = file.text;
    queries.push_back(std::move(q));
  }
  std::sort(queries.begin(), queries.end(),
            [](const NamedQuery& a, const NamedQuery& b) { return a.name < b.name; });
  return queries;
}

// A number as JSON and spreadsheets take it: no leading zeros, which belong to hashes.
bool is_number(const std::string& text) {
  const std::size_t digit = text.rfind('-', 0) == 0 ? 1 : 0;
  if (text.size() > digit + 1 && text[digit] == '0' && text[digit + 1] != '.' &&
      text[digit + 1] != 'e')
    return false;
  return parse_real(text).has_value();
}

std::vector<bool> number_columns(const QueryResult& r) {
  std::vector<bool> numbers(r.columns.size(), false);
  for (std::size_t j = 0; j < r.columns.size(); ++j) {
    const std::string& name = r.columns[j];
    if (name == "run" || name == "id" || name == "mask_hash" || name == "revision") continue;
    bool any = false, all = true;
    for (std::size_t i = 0; i < r.rows.size(); ++i) {
      if (r.null[i][j]) continue;
      any = true;
      all = all && is_number(r.rows[i][j]);
    }
    numbers[j] = any && all;
  }
  return numbers;
}

std::size_t display_width(const std::string& text) {  // UTF-8 continuation bytes take no room
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string aligned(const QueryResult& r) {
  const std::vector<bool> numbers = number_columns(r);
  std::vector<std::size_t> width;
  for (const std::string& name : r.columns) width.push_back(display_width(name));
  for (const auto& row : r.rows)
    for (std::size_t j = 0; j < row.size(); ++j)
      width[j] = std::max(width[j], display_width(row[j]));
  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (std::size_t j = 0; j < cells.size(); ++j) {
      const std::string cell = one_line(cells[j]);
      const std::string gap(width[j] - display_width(cell), ' ');
      out += (j == 0 ? "" : "  ") + (numbers[j] ? gap + cell : cell + gap);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    text += out + "\n";
  };
  add(r.columns);
  std::vector<std::string> rules;
  for (const std::size_t w : width) rules.emplace_back(w, '-');
  add(rules);
  for (const auto& row : r.rows) add(row);
  return text;
}

std::string as_json(const QueryResult& r) {
  const std::vector<bool> numbers = number_columns(r);
  std::string text = "[";
  for (std::size_t i = 0; i < r.rows.size(); ++i) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (std::size_t j = 0; j < r.columns.size(); ++j) {
      nlohmann::ordered_json& value = object[r.columns[j]];
      if (r.null[i][j]) continue;
      if (numbers[j])
        value = nlohmann::ordered_json::parse(r.rows[i][j]);
      else
        value = r.rows[i][j];
    }
    text += (i == 0 ? "\n  " : ",\n  ") +
            object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return text + (r.rows.empty() ? "]\n" : "\n]\n");
}

}  // namespace

const std::vector<NamedQuery>& named_queries() {
  static const std::vector<NamedQuery> queries = read_queries();
  return queries;
}

QueryResult run_query(const StoreReader& store, const std::string& what,
                      const std::vector<std::string>& parameters) {
  std::vector<std::string> names;
  for (const NamedQuery& q : named_queries()) {
    if (q.name == what) return store.query(q.sql, parameters);
    names.push_back(q.name);
  }
  if (looks_like_sql(what)) return store.query(what, parameters);
  throw ConfigError(did_you_mean("query", what, names) +
                    ". SQL of one's own begins with SELECT or WITH");
}

QueryFormat parse_query_format(const std::string& text) {
  if (text == "table") return QueryFormat::kAligned;
  if (text == "csv") return QueryFormat::kCsv;
  if (text == "json") return QueryFormat::kJson;
  throw ConfigError(did_you_mean("format", text, {"table", "csv", "json"}));
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::vector<std::string> safe;
  for (const std::string& cell : cells) {
    if (cell.find_first_of(",\"\r\n") == std::string::npos) {
      safe.push_back(cell);
      continue;
    }
    std::string quoted = "\"";
    for (const char c : cell) {
      if (c == '"') quoted += '"';
      quoted += c;
    }
    safe.push_back(quoted + "\"");
  }
  return join(safe, ",") + "\n";
}

std::string render(const QueryResult& result, QueryFormat format) {
  if (format == QueryFormat::kAligned) return aligned(result);
  if (format == QueryFormat::kJson) return as_json(result);
  std::string text = csv_line(result.columns);
  for (const auto& row : result.rows) text += csv_line(row);
  return text;
}

}  // namespace tandem
