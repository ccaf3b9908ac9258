// Results are text already; which columns are numbers is told from all of their values.
#include "analysis/query.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>

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

// By its title, which tells the reader as well. One that doesn't is our own mistake.
NamedQuery::Parameter parameter_of(const NamedQuery& q) {
  if (q.sql.find("?1") == std::string::npos) return NamedQuery::Parameter::kNone;
  if (q.title.find("?1 = a grid's name") != std::string::npos) return NamedQuery::Parameter::kGrid;
  if (q.title.find("?1 = the first digits of") != std::string::npos)
    return NamedQuery::Parameter::kRun;
  throw std::logic_error("the title of query " + q.name + " does not say what ?1 is");
}

std::vector<std::string> column_of(const QueryResult& result) {
  std::vector<std::string> values;
  for (const auto& row : result.rows) values.push_back(row[0]);
  return values;
}

void expect_known(const StoreReader& store, NamedQuery::Parameter kind, const std::string& said) {
  if (kind == NamedQuery::Parameter::kRun) {
    const QueryResult found =
        store.query("SELECT 1 FROM run WHERE substr(id, 1, length(?1)) = ?1 LIMIT 1", {said});
    if (!found.rows.empty()) return;
    throw ConfigError(
        fmt::format("no run's id begins with '{}'. List them: tandem query runs", said));
  }
  const std::vector<std::string> names = column_of(store.query("SELECT name FROM grid"));
  if (std::find(names.begin(), names.end(), said) == names.end())
    throw ConfigError(did_you_mean("grid", said, names));
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
    q.parameter = parameter_of(q);
    queries.push_back(std::move(q));
  }
  std::sort(queries.begin(), queries.end(),
            [](const NamedQuery& a, const NamedQuery& b) { return a.name < b.name; });
  return queries;
}

// By the grammar of JSON: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(const std::string& text) {
  std::size_t at = text.rfind('-', 0) == 0 ? 1 : 0;
  const auto digits = [&] {
    const std::size_t first = at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]))) ++at;
    return at - first;
  };
  const bool zero = at < text.size() && text[at] == '0';
  const std::size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// Where SQLite's types are known they decide: digits may be an id or a hash.
std::vector<bool> number_columns(const QueryResult& r) {
  std::vector<bool> numbers(r.columns.size(), false);
  for (std::size_t j = 0; j < r.columns.size(); ++j) {
    if (r.number.empty() && r.columns[j] == "run") continue;
    bool any = false, all = true;
    for (std::size_t i = 0; i < r.rows.size(); ++i) {
      if (r.null[i][j]) continue;
      any = true;
      all = all && (r.number.empty() ? is_number(r.rows[i][j]) : r.number[i][j]);
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

void expect_own_names(const std::vector<std::string>& columns) {
  std::set<std::string> seen;
  for (const std::string& name : columns) {
    if (!seen.insert(name).second)
      throw ConfigError(fmt::format(
          "two columns are named '{}', and an object of JSON has each name once; name them apart "
          "with AS, or take --format csv",
          name));
  }
}

std::vector<std::string> json_objects(const QueryResult& r) {
  expect_own_names(r.columns);
  const std::vector<bool> numbers = number_columns(r);
  std::vector<std::string> objects;
  for (std::size_t i = 0; i < r.rows.size(); ++i) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (std::size_t j = 0; j < r.columns.size(); ++j) {
      nlohmann::ordered_json& value = object[r.columns[j]];
      if (r.null[i][j]) continue;
      const bool number = r.number.empty() ? numbers[j] : r.number[i][j];
      if (number && is_number(r.rows[i][j]))
        value = nlohmann::ordered_json::parse(r.rows[i][j]);
      else
        value = r.rows[i][j];
    }
    objects.push_back(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return objects;
}

std::string as_json(const QueryResult& r) {
  std::string text = "[";
  for (const std::string& object : json_objects(r)) {
    text += (text.size() == 1 ? "\n  " : ",\n  ") + object;
  }
  return text + (r.rows.empty() ? "]\n" : "\n]\n");
}

std::string as_json_lines(const QueryResult& r) {
  std::string text;
  for (const std::string& object : json_objects(r)) text += object + "\n";
  return text;
}

std::string as_markdown(const QueryResult& r) {
  const auto row = [](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (const std::string& cell : cells) {
      std::string safe = one_line(cell);
      for (std::size_t at = 0; (at = safe.find('|', at)) != std::string::npos; at += 2) {
        safe.insert(at, "\\");
      }
      text += " " + safe + " |";
    }
    return text + "\n";
  };
  const std::vector<bool> numbers = number_columns(r);
  std::string text = row(r.columns) + "|";
  for (const bool number : numbers) text += number ? "---:|" : "---|";
  text += "\n";
  for (const auto& cells : r.rows) text += row(cells);
  return text;
}

// Runs of a grid and of its trials.
std::vector<std::string> runs_of(const StoreReader& store, const std::string& grid) {
  return column_of(
      store.query("SELECT run_id FROM grid_run WHERE grid IN (?1, ?1 || '/tuning')"
                  " UNION SELECT run_id FROM tuning WHERE grid = ?1",
                  {grid}));
}

// The grid that is meant where none is named; "" where all runs are.
std::string usual_grid(const StoreReader& store) {
  const auto grid = store.last_grid();
  if (!grid) return "";
  const QueryResult alone = store.query(
      "SELECT 1 FROM (SELECT id FROM run ORDER BY key DESC LIMIT 1) r WHERE NOT EXISTS"
      " (SELECT 1 FROM grid_run g WHERE g.run_id = r.id)");
  return alone.rows.empty() ? grid->name : "";
}

std::vector<std::string> that_meet(const StoreReader& store, const std::vector<Condition>& where) {
  const std::vector<std::string>& names = run_columns();
  std::string sql = "SELECT run";
  for (const Condition& condition : where) {
    if (std::find(names.begin(), names.end(), condition.key) == names.end())
      throw ConfigError(did_you_mean("column of v_run", condition.key, names));
    sql += ", \"" + condition.key + "\"";
  }
  const QueryResult values = store.query(sql + " FROM v_run");
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < values.rows.size(); ++i) {
    bool all = true;
    for (std::size_t c = 0; c < where.size(); ++c) {
      all = all && holds(where[c],
                         option_text(where[c].key, values.rows[i][c + 1], values.null[i][c + 1]));
    }
    if (all) ids.push_back(values.rows[i][0]);
  }
  return ids;
}

// Which runs a named query is about, and how they are said.
struct Chosen {
  std::optional<std::vector<std::string>> ids;  // none: all
  std::string grid, said;                       // said: "" where a parameter names the run
};

Chosen choose_runs(const StoreReader& store, const NamedQuery& query,
                   const std::vector<std::string>& parameters, const QueryScope& scope) {
  using Parameter = NamedQuery::Parameter;
  if (query.parameter == Parameter::kRun && !parameters.empty()) {
    return {column_of(store.query("SELECT id FROM run WHERE substr(id, 1, length(?1)) = ?1",
                                  {parameters.front()})),
            "", ""};
  }
  const bool names_grid = query.parameter == Parameter::kGrid && !parameters.empty();
  std::string grid = names_grid ? parameters.front() : scope.grid;
  if (!grid.empty()) {
    expect_known(store, Parameter::kGrid, grid);
  } else if (!scope.all) {
    grid = usual_grid(store);
  }
  if (grid.empty()) return {std::nullopt, "", "all runs"};
  return {runs_of(store, grid), grid, "grid " + grid};
}

QueryResult named_query(const StoreReader& store, const NamedQuery& query,
                        std::vector<std::string> parameters, const QueryScope& scope,
                        std::string* note) {
  if (query.parameter != NamedQuery::Parameter::kNone && !parameters.empty())
    expect_known(store, query.parameter, parameters.front());
  if (query.sql.find("pragma_table_info") != std::string::npos) return store.query(query.sql);
  const Chosen chosen = choose_runs(store, query, parameters, scope);
  std::optional<StoreReader> of_grid, that_meet_it;
  if (chosen.ids) of_grid.emplace(store.only(*chosen.ids));
  const StoreReader* reader = of_grid ? &*of_grid : &store;
  if (!scope.where.empty()) {
    that_meet_it.emplace(store.only(that_meet(*reader, scope.where)));
    reader = &*that_meet_it;
  }
  if (note != nullptr && !chosen.said.empty()) {
    const auto count = [](const StoreReader& of) {
      return of.query("SELECT count(*) FROM run").rows[0][0];
    };
    *note =
        fmt::format("{}{}: {} of {} stored runs", chosen.said,
                    scope.where.empty() ? "" : " where --set holds", count(*reader), count(store));
    const bool by_default = scope.grid.empty() && parameters.empty();
    if (!chosen.grid.empty() && by_default) {
      *note += " (--grid NAME asks about another, --all about all)";
    }
  }
  const bool takes_grid = query.parameter == NamedQuery::Parameter::kGrid;
  if (takes_grid && parameters.empty() && !chosen.grid.empty()) parameters = {chosen.grid};
  return reader->query(query.sql, parameters);
}

}  // namespace

const std::vector<NamedQuery>& named_queries() {
  static const std::vector<NamedQuery> queries = read_queries();
  return queries;
}

QueryResult run_query(const StoreReader& store, const std::string& what,
                      const std::vector<std::string>& parameters, const QueryScope& scope,
                      std::string* note) {
  std::vector<std::string> names;
  for (const NamedQuery& q : named_queries()) {
    names.push_back(q.name);
    if (q.name == what) return named_query(store, q, parameters, scope, note);
  }
  if (!looks_like_sql(what)) {
    throw ConfigError(did_you_mean("query", what, names) +
                      ". SQL of one's own begins with SELECT or WITH");
  }
  if (scope.all || !scope.grid.empty() || !scope.where.empty()) {
    throw ConfigError(
        "--grid, --all and --set choose the runs of a named query; SQL says with WHERE which rows "
        "it wants");
  }
  return store.query(what, parameters);
}

QueryFormat parse_query_format(const std::string& text) {
  if (text == "table") return QueryFormat::kAligned;
  if (text == "csv") return QueryFormat::kCsv;
  if (text == "json") return QueryFormat::kJson;
  if (text == "jsonl") return QueryFormat::kJsonLines;
  if (text == "markdown") return QueryFormat::kMarkdown;
  throw ConfigError(did_you_mean("format", text, {"table", "csv", "json", "jsonl", "markdown"}));
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
  if (format == QueryFormat::kJsonLines) return as_json_lines(result);
  if (format == QueryFormat::kMarkdown) return as_markdown(result);
  std::string text = csv_line(result.columns);
  for (const auto& row : result.rows) text += csv_line(row);
  return text;
}

}  // namespace tandem
