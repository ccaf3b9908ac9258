// Runs may be compared where they differ in their seeds alone and ran in like places.
#include "analysis/why.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "analysis/query.h"
#include "config/known_content.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

std::string wrapped(const std::vector<std::string>& words, const std::string& indent) {
  constexpr std::size_t kWidth = 100;
  std::string text, row = indent;
  for (const std::string& word : words) {
    if (row.size() > indent.size() && row.size() + 1 + word.size() > kWidth) {
      text += row + "\n";
      row = indent;
    }
    row += (row.size() > indent.size() ? " " : "") + word;
  }
  return row.size() > indent.size() ? text + row + "\n" : text;
}

std::string or_unknown(const std::string& text) { return text.empty() ? "unknown" : text; }

std::string row_name(const LineageCell& c) {
  std::vector<std::string> pairs;
  for (const auto& [key, value] : c.row) pairs.push_back(key + "=" + value);
  return join(pairs, ",");
}

std::string row_values(const LineageCell& c) {
  std::vector<std::string> values;
  for (const auto& [key, value] : c.row) values.push_back(value);
  return join(values, ",");
}

bool is_cell(const LineageCell& c, const std::string& row, const std::string& column) {
  const bool row_fits = row.empty() || row == row_name(c) || row == row_values(c);
  return row_fits && (column.empty() || column == c.column || column == c.measure);
}

const LineageCell& find_cell(const Lineage& lineage, const std::string& row,
                             const std::string& column) {
  std::vector<const LineageCell*> found;
  std::set<std::string> rows, columns;
  for (const LineageCell& c : lineage.cells) {
    rows.insert(row_values(c));
    columns.insert(c.column);
    if (is_cell(c, row, column)) found.push_back(&c);
  }
  if (found.size() == 1) return *found.front();
  throw ConfigError(fmt::format(
      "{} cells of table {} have row \"{}\" and column \"{}\"; one is expected. Rows: {}. "
      "Columns: {}",
      found.size(), lineage.table, row, column, join({rows.begin(), rows.end()}, "; "),
      join({columns.begin(), columns.end()}, "; ")));
}

// The values that `get` takes over the runs, sorted.
std::set<std::string> values_of(const std::vector<TableRun>& runs,
                                const std::function<std::string(const TableRun&)>& get) {
  std::set<std::string> values;
  for (const TableRun& run : runs) values.insert(get(run));
  return values;
}

std::string config_value(const TableRun& run, const std::string& name) {
  const auto found = run.config.find(name);
  return found == run.config.end() ? "" : found->second;
}

struct Comparison {
  std::vector<std::string> common;       // key=value
  std::vector<std::string> differences;  // "device (cpu, cuda)"
};

Comparison compare(const std::vector<TableRun>& runs) {
  Comparison c;
  std::set<std::string> names;
  for (const TableRun& run : runs)
    for (const auto& [name, value] : run.config) names.insert(name);
  const auto differ = [&c](const std::string& name, const std::set<std::string>& values) {
    std::vector<std::string> shown;
    for (const std::string& v : values) shown.push_back(or_unknown(v));
    c.differences.push_back(fmt::format("{} ({})", name, join(shown, ", ")));
  };
  for (const std::string& name : names) {
    if (is_of_repetition(name)) continue;
    const auto values = values_of(runs, [&](const TableRun& r) { return config_value(r, name); });
    if (values.size() == 1)
      c.common.push_back(name + "=" + *values.begin());
    else
      differ(name, values);
  }
  const std::vector<std::pair<std::string, std::string TableRun::*>> places = {
      {"revision", &TableRun::revision},
      {"device", &TableRun::device},
      {"threads", &TableRun::threads}};
  for (const auto& [name, member] : places) {
    const auto values = values_of(runs, [m = member](const TableRun& r) { return r.*m; });
    if (values.size() > 1) differ(name, values);
  }
  return c;
}

std::string run_table(const Lineage& lineage, const std::vector<std::string>& ids) {
  QueryResult table;
  table.columns = {"run", "seed", "state", "revision", "device", "threads", "machine"};
  for (const std::string& id : ids) {
    const TableRun& r = lineage.runs.at(id);
    table.rows.push_back({id.substr(0, 12), r.seed, r.state, or_unknown(r.revision).substr(0, 12),
                          or_unknown(r.device), or_unknown(r.threads), or_unknown(r.machine)});
    table.null.emplace_back(table.columns.size(), false);
  }
  return render(table, QueryFormat::kAligned);
}

// The choices that any of the runs carries out.
std::string choices_text(const std::vector<TunedCell>& cells, const std::vector<std::string>& ids) {
  std::string text;
  for (const TunedCell& cell : cells) {
    const bool behind = std::any_of(ids.begin(), ids.end(), [&cell](const std::string& id) {
      return std::find(cell.runs.begin(), cell.runs.end(), id) != cell.runs.end();
    });
    if (behind) text += explain_choice(cell) + "\n";
  }
  return text;
}

// What the run's data were. Runs of versions that didn't look at it say nothing.
std::string content_text(const RunRecord& run) {
  const std::map<std::string, std::string> values(run.values.begin(), run.values.end());
  const auto value = [&values](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? "" : found->second;
  };
  const std::string said = value("data_hash");
  std::string hash;
  if (values.count("data_hash") != 0) {
    hash = expected_content(value("data"), value("corpus"), said);
  }
  return fmt::format("content of the data: {}{}\n\n", hash.empty() ? "not noted" : hash,
                     said.empty() && !hash.empty() ? ", which the data set is known by" : "");
}

// The net that the run began with, where it was given.
std::string initial_net_text(const StoreReader& store, const RunRecord& run) {
  std::string net, hash;
  for (const auto& [name, value] : run.values) {
    if (name == "init_net") net = value;
    if (name == "init_hash") hash = value;
  }
  if (hash.empty()) return "";
  const QueryResult found = store.query(
      "SELECT DISTINCT json_extract(p.json, '$.init.path') AS path FROM run r JOIN run_provenance "
      "l "
      "ON l.run = r.key JOIN provenance p ON p.id = l.provenance WHERE r.id = ? AND path IS NOT "
      "NULL",
      {run.id});
  std::vector<std::string> paths;
  for (const auto& row : found.rows) paths.push_back(row[0]);
  return fmt::format("began with the net {}, SHA-256 {}{}\n\n", net, hash,
                     paths.empty() ? "" : ", read from " + join(paths, ", "));
}

}  // namespace

std::string explain_cell(const Lineage& lineage, const std::string& row,
                         const std::string& column) {
  const LineageCell& c = find_cell(lineage, row, column);
  std::vector<std::string> ids = c.runs;
  ids.insert(ids.end(), c.reference.begin(), c.reference.end());
  ids.insert(ids.end(), c.diverged.begin(), c.diverged.end());
  std::string text = fmt::format("table {}, row {}, column {}: {}\n", lineage.table, row_name(c),
                                 c.column, c.text.empty() ? "empty" : c.text);
  if (c.mean)
    text += fmt::format("mean {}{} of {} {}{}\n", c.reference.empty() ? "" : "difference ", *c.mean,
                        c.values(), c.reference.empty() ? "runs" : "pairs of runs",
                        c.half ? fmt::format(", 95% half width {}", *c.half)
                               : std::string(", too few for an interval"));
  if (!c.diverged.empty())
    text += fmt::format("{} of {}{} diverged\n", c.n - c.values(), c.n,
                        c.reference.empty() ? "" : " pairs");
  if (ids.empty()) return text + "no run that is done or diverged has this value\n";
  std::vector<TableRun> runs;
  for (const std::string& id : ids) {
    if (lineage.runs.count(id) == 0)
      throw DataError(fmt::format("the lineage of table {} lacks run {}; make the table anew",
                                  lineage.table, id));
    runs.push_back(lineage.runs.at(id));
  }
  const Comparison comparison = compare(runs);
  text += "\n" + run_table(lineage, ids) + "\nconfig in common:\n" +
          wrapped(comparison.common, "  ") + "\n" + choices_text(lineage.tuned, ids);
  if (comparison.differences.empty())
    return text + "comparable: yes, the runs differ in their seeds alone\n";
  const std::string heading = c.reference.empty()
                                  ? "comparable: no, the runs also differ in\n"
                                  : "the runs of both sides differ in their seeds and in\n";
  return text + heading + [&comparison] {
    std::string lines;
    for (const std::string& d : comparison.differences) lines += "  " + d + "\n";
    return lines;
  }();
}

std::string explain_run(const StoreReader& store, const std::string& prefix) {
  const RunRecord run = store.find_run(prefix);
  std::string text = fmt::format("run {}\nstate {}, step {}, attempt {}, {:.1f} s", run.id,
                                 run.state, run.step, run.attempt, run.seconds);
  const QueryResult message = store.query("SELECT message FROM run WHERE id = ?", {run.id});
  if (!message.rows.empty() && !message.rows[0][0].empty()) text += ": " + message.rows[0][0];
  text += "\n\n" + run.canonical + "\n" + content_text(run) + initial_net_text(store, run);
  const QueryResult places = store.query(
      "SELECT l.attempt, json_extract(p.json, '$.revision') AS revision,"
      " json_extract(p.json, '$.dirty') AS dirty, json_extract(p.json, '$.device') AS device,"
      " json_extract(p.json, '$.threads') AS threads, json_extract(p.json, '$.machine') AS machine,"
      " json_extract(p.json, '$.storage') AS storage"
      " FROM run_provenance l JOIN provenance p ON p.id = l.provenance JOIN run r ON r.key = l.run"
      " WHERE r.id = ? ORDER BY l.attempt, l.sequence",
      {run.id});
  text += places.rows.empty() ? "no provenance is stored\n" : render(places, QueryFormat::kAligned);
  const QueryResult members =
      store.query("SELECT grid, position FROM grid_run WHERE run_id = ? ORDER BY grid", {run.id});
  if (!members.rows.empty()) text += "\n" + render(members, QueryFormat::kAligned);
  const QueryResult events = store.query(
      "SELECT e.at, e.attempt, e.kind, e.message FROM event e JOIN run r ON r.key = e.run"
      " WHERE r.id = ? ORDER BY e.key",
      {run.id});
  if (!events.rows.empty()) text += "\n" + render(events, QueryFormat::kAligned);
  for (const TunedCell& cell : tuned_cells(store, {run.id})) text += "\n" + explain_choice(cell);
  for (const TunedCell& cell : cells_of_trial(store, run.id)) {
    text += "\na trial, " + explain_choice(cell);
  }
  return text;
}

}  // namespace tandem
