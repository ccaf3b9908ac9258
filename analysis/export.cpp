#include "analysis/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "analysis/query.h"
#include "core/text.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kRunsAtOnce = 500;

constexpr const char* kLongRows = R"sql(
SELECT r.id AS run, x.sequence, x.step, x.stage, x.task, x.split, x.readout, x.layer, x.measure, x.value
FROM run r JOIN (
  SELECT e.run, e.sequence, e.step, e.stage, e.task, e.split, o.identity AS readout, NULL AS layer,
         m.measure,
         CASE m.measure WHEN 'accuracy' THEN 1.0 * e.n_correct / e.n_total WHEN 'loss' THEN e.loss
         ELSE e.n_total END AS value
  FROM eval e JOIN readout o ON o.key = e.readout
  JOIN (SELECT 'accuracy' AS measure UNION ALL SELECT 'loss' UNION ALL SELECT 'n_total') m
  WHERE e.n_total > 0
  UNION ALL
  SELECT m.run, m.sequence, m.step, NULL, NULL, NULL, NULL, l.name, n.name, m.value
  FROM metric m JOIN metric_name n ON n.key = m.name JOIN layer_name l ON l.key = m.layer) x
ON x.run = r.key
ORDER BY r.key, x.sequence, x.measure)sql";

// What a run ended with: a name that says all of it, and the number.
constexpr const char* kEnds = R"sql(
SELECT r.id AS run, 'accuracy' AS measure, p.split, o.identity AS readout, p.stage, p.step,
       CAST(1.0 * p.n_correct / p.n_total AS DOUBLE) AS value
FROM result p JOIN run r ON r.key = p.run JOIN readout o ON o.key = p.readout
WHERE p.n_total > 0 AND p.stage = (SELECT max(l.stage) FROM result l WHERE l.run = p.run)
UNION ALL
SELECT r.id, 'loss', p.split, o.identity, p.stage, p.step, CAST(p.loss_sum / p.n_total AS DOUBLE)
FROM result p JOIN run r ON r.key = p.run JOIN readout o ON o.key = p.readout
WHERE p.n_total > 0 AND p.stage = (SELECT max(l.stage) FROM result l WHERE l.run = p.run)
UNION ALL
SELECT r.id, CASE l.name WHEN '' THEN n.name ELSE l.name || ':' || n.name END, NULL, NULL, NULL,
       m.step, m.value
FROM metric m JOIN run r ON r.key = m.run JOIN metric_name n ON n.key = m.name
JOIN layer_name l ON l.key = m.layer
WHERE l.name IN ('', 'weights', 'attention') AND (m.run, m.sequence) IN
  (SELECT run, max(sequence) FROM metric GROUP BY run, layer, name)
ORDER BY 1, 2, 3, 4)sql";

constexpr const char* kNames = R"sql(
SELECT DISTINCT m.measure || ' ' || p.split || ' ' || o.identity
FROM result p JOIN readout o ON o.key = p.readout
JOIN (SELECT 'accuracy' AS measure UNION ALL SELECT 'loss') m WHERE p.n_total > 0
UNION
SELECT DISTINCT CASE l.name WHEN '' THEN n.name ELSE l.name || ':' || n.name END
FROM (SELECT DISTINCT layer, name FROM metric) m JOIN metric_name n ON n.key = m.name
JOIN layer_name l ON l.key = m.layer WHERE l.name IN ('', 'weights', 'attention')
ORDER BY 1)sql";

struct Cell {
  std::string text;
  bool null = true, number = false;

  ordered_json json() const {
    if (null) return nullptr;
    if (!number) return text;
    const ordered_json parsed = ordered_json::parse(text, nullptr, false);
    return parsed.is_discarded() ? ordered_json(text) : parsed;  // an infinity is no number of JSON
  }
};

Cell cell_of(const QueryResult& rows, std::size_t i, std::size_t j) {
  return {rows.rows[i][j], rows.null[i][j], rows.number[i][j]};
}

// Of the runs that the reader is restricted to.
std::map<std::string, std::vector<std::string>> grids_of(const StoreReader& some) {
  std::map<std::string, std::vector<std::string>> grids;
  const QueryResult rows = some.query(
      "SELECT r.id, g.grid FROM run r JOIN grid_run g ON g.run_id = r.id ORDER BY r.id, g.grid");
  for (const auto& row : rows.rows) grids[row[0]].push_back(row[1]);
  return grids;
}

// One batch of runs, as it is written.
class Writer {
 public:
  Writer(const StoreReader& all, ExportFormat format,
         const std::function<void(std::string_view)>& write)
      : format_(format), write_(write) {
    if (format == ExportFormat::kLong) {
      write_("run,sequence,step,stage,task,split,readout,layer,measure,value\n");
      return;
    }
    for (const auto& row : all.query(kNames).rows) {
      place_[row[0]] = names_.size();
      names_.push_back(row[0]);
    }
    if (format != ExportFormat::kWide) return;
    std::vector<std::string> head = run_columns();
    head.push_back("grids");
    head.insert(head.end(), names_.begin(), names_.end());
    write_(csv_line(head));
  }

  void write(const StoreReader& some, const std::vector<std::string>& ids) {
    if (format_ == ExportFormat::kLong) return write_rows(some.query(kLongRows));
    grids_ = grids_of(some);
    const QueryResult runs = some.query("SELECT * FROM v_run");
    const QueryResult ends = some.query(kEnds);
    std::map<std::string, std::size_t> row_of;
    for (std::size_t i = 0; i < runs.rows.size(); ++i) row_of[runs.rows[i][0]] = i;
    std::map<std::string, std::vector<std::size_t>> ends_of;
    for (std::size_t i = 0; i < ends.rows.size(); ++i) ends_of[ends.rows[i][0]].push_back(i);
    for (const std::string& id : ids) {
      const auto row = row_of.find(id);
      if (row == row_of.end()) continue;
      if (format_ == ExportFormat::kWide) {
        write_wide(runs, row->second, ends, ends_of[id]);
      } else {
        write_json(runs, row->second, ends, ends_of[id]);
      }
    }
  }

 private:
  void write_rows(const QueryResult& rows) {
    for (const auto& row : rows.rows) write_(csv_line(row));
  }

  static std::string name_of(const QueryResult& ends, std::size_t i) {
    const auto& row = ends.rows[i];
    return ends.null[i][2] ? row[1] : row[1] + " " + row[2] + " " + row[3];
  }

  void write_wide(const QueryResult& runs, std::size_t i, const QueryResult& ends,
                  const std::vector<std::size_t>& own) {
    std::vector<std::string> cells = runs.rows[i];
    cells.push_back(join(grids_[runs.rows[i][0]], " "));
    const std::size_t first = cells.size();
    cells.resize(first + names_.size());
    for (const std::size_t k : own) {
      const auto place = place_.find(name_of(ends, k));
      if (place != place_.end()) cells[first + place->second] = ends.rows[k][6];
    }
    write_(csv_line(cells));
  }

  void write_json(const QueryResult& runs, std::size_t i, const QueryResult& ends,
                  const std::vector<std::size_t>& own) {
    ordered_json run;
    for (std::size_t j = 0; j < runs.columns.size(); ++j) {
      const Cell cell = cell_of(runs, i, j);
      if (!cell.null) run[runs.columns[j]] = cell.json();
    }
    run["grids"] = grids_[runs.rows[i][0]];
    run["results"] = ordered_json::array();
    run["metrics"] = ordered_json::object();
    for (const std::size_t k : own) {
      if (ends.null[k][2]) {
        run["metrics"][ends.rows[k][1]] = cell_of(ends, k, 6).json();
        continue;
      }
      ordered_json result;
      for (std::size_t j = 1; j < ends.columns.size(); ++j) {
        result[ends.columns[j]] = cell_of(ends, k, j).json();
      }
      run["results"].push_back(std::move(result));
    }
    write_(run.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }

  ExportFormat format_;
  const std::function<void(std::string_view)>& write_;
  std::map<std::string, std::vector<std::string>> grids_;  // of the batch
  std::vector<std::string> names_;                         // of what runs end with
  std::map<std::string, std::size_t> place_;
};

}  // namespace

void export_runs(const StoreReader& store, const std::vector<std::string>& runs,
                 ExportFormat format, const std::function<void(std::string_view)>& write) {
  Writer writer(store.only(runs), format, write);
  for (std::size_t first = 0; first < runs.size(); first += kRunsAtOnce) {
    const auto begin = runs.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end =
        runs.begin() + static_cast<std::ptrdiff_t>(std::min(runs.size(), first + kRunsAtOnce));
    const std::vector<std::string> some(begin, end);
    writer.write(store.only(some), some);
  }
}

}  // namespace tandem
