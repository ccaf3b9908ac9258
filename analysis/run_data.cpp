// Budgets are stored as they are; "the trained budget" is the run's own density or blocks, and a
// read-out's factor is relative to it, within 1%; blocks may have been rounded to whole ones, at
// least 1.
#include "analysis/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "analysis/metric_names.h"
#include "analysis/sequence_measures.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr char kLastStage[] =
    "SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked,"
    " split, read_context, scaling, condition, accuracy, loss, bits_per_byte FROM v_result WHERE"
    " state = 'done' ORDER BY run, step DESC";

// Pooled over the tasks that were evaluated at a step; of evaluations of one step the last stage's.
constexpr char kEvalSeries[] =
    "SELECT r.id, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget,"
    " o.masked, e.split, o.context, o.scaling, o.condition, e.step,"
    " 1.0 * sum(e.n_correct) / sum(e.n_total) AS accuracy,"
    " sum(e.loss * e.n_total) / sum(e.n_total) AS loss,"
    " CASE WHEN v.bits_per_byte IS NOT NULL"
    " THEN sum(e.loss * e.n_total) / sum(e.n_total) / 0.69314718055994530942 END AS bits_per_byte"
    " FROM eval e JOIN readout o ON o.key = e.readout JOIN run r ON r.key = e.run"
    " LEFT JOIN (SELECT run, max(bits_per_byte) AS bits_per_byte FROM v_result GROUP BY run) v"
    " ON v.run = r.id"
    " WHERE r.state = 'done' AND e.n_total > 0"
    " GROUP BY e.run, e.readout, e.split, e.step, e.stage"
    " ORDER BY e.run, e.step, e.stage DESC";

// Of the metrics with these names, which a table asks for.
constexpr char kLastMetrics[] =
    "SELECT r.id, n.name, l.name, m.value FROM metric m"
    " JOIN (SELECT run, name, max(step) AS step FROM metric WHERE name IN"
    " (SELECT key FROM metric_name WHERE name IN (SELECT value FROM json_each(?)))"
    " GROUP BY run, name) last"
    " ON last.run = m.run AND last.name = m.name AND last.step = m.step"
    " JOIN run r ON r.key = m.run JOIN metric_name n ON n.key = m.name"
    " JOIN layer_name l ON l.key = m.layer"
    " WHERE r.state = 'done' AND m.value IS NOT NULL ORDER BY m.run, m.sequence";

constexpr char kMetricSeries[] =
    "SELECT r.id, m.step, l.name, m.value FROM metric m JOIN run r ON r.key = m.run"
    " JOIN metric_name n ON n.key = m.name JOIN layer_name l ON l.key = m.layer"
    " WHERE r.state = 'done' AND n.name = ? AND m.value IS NOT NULL ORDER BY m.run, m.sequence";

using Index = std::unordered_map<std::string, RunData*>;

std::optional<double> number_at(const QueryResult& q, std::size_t row, std::size_t column) {
  if (q.null[row][column]) return std::nullopt;
  const auto value = parse_real(q.rows[row][column]);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

ReadoutKey key_at(const QueryResult& q, std::size_t row) {
  return {q.rows[row][1],       number_at(q, row, 2),  q.rows[row][3],
          number_at(q, row, 4), q.rows[row][5] == "1", q.rows[row][6],
          number_at(q, row, 7), q.rows[row][8],        q.rows[row][9]};
}

// The columns from this one on are measures, by their names.
void add_values(const QueryResult& q, std::size_t i, ReadoutRow& row, std::size_t first = 10) {
  for (std::size_t j = first; j < q.columns.size(); ++j)
    if (const auto value = number_at(q, i, j)) row.values[q.columns[j]] = *value;
}

void add_evals(const StoreReader& store, const Index& index) {
  const QueryResult q = store.query(kLastStage);
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    if (run == index.end()) continue;
    ReadoutRow row{key_at(q, i), {}};
    add_values(q, i, row);
    run->second->evals.push_back(std::move(row));
  }
}

void add_eval_series(const StoreReader& store, const Index& index) {
  const QueryResult q = store.query(kEvalSeries);
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    const auto step = parse_integer(q.rows[i][10]);
    if (run == index.end() || !step) continue;
    ReadoutRow row{key_at(q, i), {}};
    add_values(q, i, row, 11);
    run->second->eval_series[*step].push_back(std::move(row));
  }
}

// The measures that are columns of one view.
void add_sequence_measures(const StoreReader& store, const Index& index, const std::string& view,
                           const std::set<std::string>& names) {
  const QueryResult q = store.query(fmt::format(
      "SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked,"
      " split, read_context, scaling, condition, {} FROM {} WHERE state = 'done'",
      fmt::join(names, ", "), view));
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    if (run == index.end()) continue;
    ReadoutRow row{key_at(q, i), {}};
    add_values(q, i, row);
    run->second->sequence.push_back(std::move(row));
  }
}

void add_matrix(const StoreReader& store, const Index& index) {
  const QueryResult q = store.query(
      "SELECT r.id, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget,"
      " o.masked, m.split, o.context, o.scaling, o.condition, m.stage, m.task, m.accuracy FROM "
      "v_matrix m JOIN readout o ON"
      " o.key = m.readout JOIN run r ON r.key = m.run_key WHERE r.state = 'done'"
      " ORDER BY m.run_key, m.readout, m.split");
  std::vector<std::string> before;
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    const auto value = number_at(q, i, 12);
    if (run == index.end() || !value) continue;
    const std::vector<std::string> place(q.rows[i].begin(), q.rows[i].begin() + 10);
    if (place != before) run->second->matrix.push_back({key_at(q, i), {}});
    before = place;
    const MatrixCell cell{*parse_integer(q.rows[i][10]), *parse_integer(q.rows[i][11])};
    run->second->matrix.back().values[cell.name()] = *value;
  }
}

void add_metrics(const StoreReader& store, const Index& index, const std::set<std::string>& names) {
  const QueryResult q = store.query(kLastMetrics, {nlohmann::json(names).dump()});
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    const auto value = number_at(q, i, 3);
    if (run == index.end() || !value) continue;
    run->second->metrics[q.rows[i][1]].push_back({q.rows[i][2], *value});
  }
}

void add_series(const StoreReader& store, const Index& index, const std::string& name) {
  const QueryResult q = store.query(kMetricSeries, {name});
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    const auto run = index.find(q.rows[i][0]);
    const auto step = parse_integer(q.rows[i][1]);
    const auto value = number_at(q, i, 3);
    if (run == index.end() || !step || !value) continue;
    run->second->series[name][*step].push_back({q.rows[i][2], *value});
  }
}

using Places = std::unordered_map<std::string, std::size_t>;

// The place of each run that belongs to the grid; nothing where no grid is named.
std::optional<Places> places_of(const StoreReader& store, const TablePlan& plan) {
  Places places;
  if (plan.wanted) {
    for (const WantedRun& run : plan.wanted->runs)
      if (run.decided) places.emplace(run.config.id(), places.size());
    return places;
  }
  if (plan.grid.empty()) return std::nullopt;
  for (const RunRecord& r : store.runs_of_grid(plan.grid)) places.emplace(r.id, places.size());
  return places;
}

// Runs of the grid in its order, or all in the store's.
std::vector<RunData> read_runs(const TablePlan& plan, const QueryResult& q,
                               const std::optional<Places>& places) {
  std::vector<RunData> runs;
  for (std::size_t i = 0; i < q.rows.size(); ++i) {
    RunData run;
    for (std::size_t j = 0; j < q.columns.size(); ++j)
      if (std::string text = option_text(q.columns[j], q.rows[i][j], q.null[i][j]); !text.empty())
        run.columns[q.columns[j]] = std::move(text);
    run.id = run.column("run");
    if ((!places || places->count(run.id)) && run.meets(plan.where)) runs.push_back(std::move(run));
  }
  if (places)
    std::sort(runs.begin(), runs.end(), [&places](const RunData& a, const RunData& b) {
      return places->at(a.id) < places->at(b.id);
    });
  return runs;
}

std::vector<std::string> metric_names(const StoreReader& store) {
  std::vector<std::string> names;
  for (const auto& row : store.query("SELECT name FROM metric_name").rows) names.push_back(row[0]);
  return names;
}

// A reader of the runs that have a place.
StoreReader only(const StoreReader& store, const Places& places) {
  std::vector<std::string> ids;
  for (const auto& [id, place] : places) ids.push_back(id);
  return store.only(ids);
}

void find_missing(const StoreReader& store, const TablePlan& plan, RunSet& set) {
  if (!plan.wanted) {
    if (plan.grid.empty()) return;
    const auto grid = store.find_grid(plan.grid);
    set.wanted = grid ? grid->runs.size() : 0;
    set.never_run = set.wanted - store.runs_of_grid(plan.grid).size();
    return;
  }
  std::unordered_map<std::string, std::string> states;
  const QueryResult q = store.query("SELECT id, state FROM run");
  for (const auto& row : q.rows) states[row[0]] = row[1];
  std::set<std::string> shown;
  for (const RunData& run : set.runs) shown.insert(run.id);
  for (const WantedRun& run : plan.wanted->runs) {
    if (!may_meet(run.config, plan.where)) continue;
    const auto state = states.find(run.config.id());
    const bool there = run.decided && state != states.end();
    if (there && shown.count(run.config.id()) == 0 &&
        (state->second == "done" || state->second == "diverged"))
      continue;  // by what came of it, it does not meet the conditions
    ++set.wanted;
    if (there && shown.count(run.config.id())) continue;
    set.missing.push_back({run.what, run.config.text("seed"),
                           !run.decided ? "awaits its trials"
                           : there      ? state->second
                                        : "never run"});
  }
}

bool budget_matches(const std::optional<double>& budget, double trained, double factor,
                    bool whole) {
  if (!budget) return false;
  const auto near = [&budget](double wanted) {
    return std::abs(*budget - wanted) <= 0.01 * wanted;
  };
  return near(trained * factor) || (whole && near(std::max(1.0, std::round(trained * factor))));
}

bool level_matches(const LevelReadout& wanted, const std::string& readout,
                   const std::optional<double>& budget, const std::string& trained, bool whole) {
  if (!wanted.sparse) return readout != "sparse";
  const auto number = parse_real(trained);
  return readout == "sparse" && number && budget_matches(budget, *number, wanted.factor, whole);
}

bool row_matches(const RunData& run, const ReadoutKey& k, const LevelReadout& attention,
                 const LevelReadout& weights) {
  return level_matches(attention, k.attention_readout, k.attention_budget, run.column("blocks"),
                       true) &&
         level_matches(weights, k.weights_readout, k.weights_budget, run.column("density"), false);
}

// The examples and their length are those that the measure means.
bool examples_match(const RunData& run, const ReadoutKey& k, const Readout& wanted) {
  if (k.scaling != wanted.scaling || (k.condition == "position=beyond") != wanted.beyond) {
    return false;
  }
  if (!wanted.beyond && !k.condition.empty()) return false;
  const auto trained = parse_real(run.column("context"));
  if (wanted.context == 1 || !trained) return wanted.context == 1 && !k.context;
  return k.context && *k.context == wanted.context * *trained;
}

// A level's read-out of its own, where it is asked for: the first of these that there is.
std::vector<LevelReadout> choices(const LevelReadout& level, bool sparse_first = false) {
  if (!level.own) return {level};
  const LevelReadout full, sparse{.sparse = true};
  return sparse_first ? std::vector{sparse, full} : std::vector{full, sparse};
}

// Of a database that another program wrote, whose methods this one may lack: false.
bool trains_sparse_attention_alone(const RunData& run) {
  const Part* method = part_table().find("attention", run.column("attention"));
  return method != nullptr && method->trains_sparse_alone;
}

// Which pair of levels `sparse` without names means: both where they were read out so, else the one
// level that was; nothing where both were, but apart.
std::vector<std::pair<LevelReadout, LevelReadout>> meanings(const RunData& run, const Readout& r) {
  if (r.by_level || !r.weights.sparse) {
    std::vector<std::pair<LevelReadout, LevelReadout>> pairs;
    const bool sparse_first = r.attention.own && trains_sparse_attention_alone(run);
    for (const LevelReadout& attention : choices(r.attention, sparse_first))
      for (const LevelReadout& weights : choices(r.weights)) pairs.emplace_back(attention, weights);
    return pairs;
  }
  const LevelReadout sparse = r.weights, full;
  return {{sparse, sparse}, {sparse, full}, {full, sparse}};
}

std::optional<double> readout_value(const RunData& run, const std::vector<ReadoutRow>& rows,
                                    const Measure& m, const std::string& split) {
  // But in task-incremental learning an accuracy that knows the task is another number, which
  // stands where it is asked for and nowhere else, also where there is no other.
  const bool masked =
      m.readout.masked ||
      (run.column("scenario") == "task_il" &&
       std::all_of(rows.begin(), rows.end(), [](const auto& row) { return row.key.masked; }));
  std::vector<double> found;
  for (const auto& [attention, weights] : meanings(run, m.readout)) {
    for (const ReadoutRow& row : rows) {
      if (row.key.split != split || row.key.masked != masked ||
          !examples_match(run, row.key, m.readout) ||
          !row_matches(run, row.key, attention, weights))
        continue;
      // Measures of several views come in rows of their own.
      const auto value = row.values.find(m.name);
      if (value == row.values.end()) continue;
      found.push_back(value->second);
      break;
    }
    const bool first_counts =
        m.readout.attention.own || m.readout.weights.own || (attention.sparse && weights.sparse);
    if (first_counts && !found.empty()) return found.front();
  }
  if (found.size() != 1) return std::nullopt;
  return found.front();
}

bool is_below(const std::string& layer, const std::string& place) {
  return layer.size() > place.size() && layer.rfind(place, 0) == 0 &&
         std::string("./:").find(layer[place.size()]) != std::string::npos;
}

// The row of `place` itself, else the mean over the layers below it; all layers where it is "".
std::optional<double> at_place(const MetricValues& rows, const std::string& place) {
  double sum = 0;
  int n = 0;
  for (const MetricValue& row : rows) {
    if (row.layer == place) return row.value;
    if (!place.empty() && !is_below(row.layer, place)) continue;
    sum += row.value;
    ++n;
  }
  if (n == 0) return std::nullopt;
  return sum / n;
}

// Layers are named LEVEL/LAYER, or without a level. Without a place the one level is meant that has
// the metric; where both have it, the measure must name one.
std::optional<std::string> place_of(const MetricValues& rows, const Measure& m) {
  if (!m.layer.empty()) return m.layer;
  std::vector<std::string> levels;
  for (const char* level : {"attention", "weights"})
    if (at_place(rows, level)) levels.push_back(level);
  const bool whole = std::any_of(rows.begin(), rows.end(),
                                 [](const MetricValue& row) { return row.layer.empty(); });
  if (whole || levels.empty()) return "";
  return levels.size() == 1 ? std::optional(levels.front()) : std::nullopt;
}

std::optional<double> metric_value(const RunData& run, const Measure& m) {
  const auto named = run.metrics.find(m.name);
  if (named == run.metrics.end()) return std::nullopt;
  const auto place = place_of(named->second, m);
  return place ? at_place(named->second, *place) : std::nullopt;
}

// The values at the place by step. The place is that of all steps together.
std::map<std::int64_t, double> metric_series(const RunData& run, const Measure& m) {
  std::map<std::int64_t, double> values;
  const auto named = run.series.find(m.name);
  if (named == run.series.end()) return values;
  MetricValues all;
  for (const auto& [step, rows] : named->second) all.insert(all.end(), rows.begin(), rows.end());
  const auto place = place_of(all, m);
  if (!place) return values;
  for (const auto& [step, rows] : named->second) {
    if (const auto value = at_place(rows, *place)) values[step] = *value;
  }
  return values;
}

// sum over the steps s that have a value v_s, of v_s / their number.
std::optional<double> average_value(const RunData& run, const Measure& m) {
  const auto values = metric_series(run, m);
  if (values.empty()) return std::nullopt;
  double sum = 0;
  for (const auto& [step, value] : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

bool RunData::meets(const std::vector<Condition>& where) const {
  return std::all_of(where.begin(), where.end(),
                     [this](const Condition& c) { return holds(c, column(c.key)); });
}

const std::string& RunData::column(const std::string& name) const {
  static const std::string kNothing;
  const auto found = columns.find(name);
  return found == columns.end() ? kNothing : found->second;
}

void expect_columns(const TablePlan& plan, const std::vector<std::string>& names,
                    const std::vector<std::string>& metrics) {
  const auto expect = [&names](const std::string& what, const std::string& name,
                               const std::vector<std::string>& others = {}) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    std::vector<std::string> valid = names;
    valid.insert(valid.end(), others.begin(), others.end());
    const std::string prefixed = "metric:" + name;  // nothing is nearer than that
    if (std::find(others.begin(), others.end(), prefixed) != others.end()) valid = {prefixed};
    throw ConfigError(did_you_mean(what, name, valid,
                                   "v_run's columns are valid here, and metric:NAME@LAYER and "
                                   "average:NAME@LAYER for a logged metric; `tandem query "
                                   "columns` lists them"));
  };
  for (const std::string& key : plan.rows) expect("key of rows", key);
  for (const std::string& key : plan.across) expect("key of across", key);
  for (const std::string& key : plan.ranks) expect("key of ranks", key);
  for (const std::string& key : plan.over) expect("key of over", key);
  for (const std::string& key : plan.strata) expect("key of strata", key);
  for (const Condition& c : plan.where) expect("key of a condition", c.key);
  std::vector<std::string> others = readout_measures();
  std::vector<std::string> named = documented_metrics();
  named.insert(named.end(), metrics.begin(), metrics.end());
  for (const std::string& name : named) {
    const std::string said = "metric:" + name;
    if (std::find(others.begin(), others.end(), said) == others.end()) others.push_back(said);
  }
  for (const Measure& m : plan.measures)
    if (m.kind == Measure::Kind::kRun) expect("column of a table", m.name, others);
}

std::string missing_note(const RunSet& set, const TablePlan& plan) {
  if (plan.wanted) {
    if (set.missing.empty()) return "";
    return fmt::format("{} of {} runs that {} stands for are missing: {}.", set.missing.size(),
                       set.wanted, plan.wanted->file, missing_text(set.missing));
  }
  std::string note;
  if (set.unfinished > 0) note = fmt::format("{} runs are not done and not shown.", set.unfinished);
  if (set.never_run > 0)
    note += fmt::format("{}{} of {} runs of grid {} have never been run.", note.empty() ? "" : " ",
                        set.never_run, set.wanted, plan.grid);
  return note;
}

RunSet select_runs(const StoreReader& whole, const TablePlan& plan) {
  const std::optional<Places> places = places_of(whole, plan);
  std::optional<StoreReader> of_places;
  if (places) of_places.emplace(only(whole, *places));
  const StoreReader& store = places ? *of_places : whole;
  const QueryResult q = store.query("SELECT * FROM v_run");
  expect_columns(plan, q.columns, metric_names(whole));
  RunSet set;
  set.column_names = q.columns;
  for (RunData& run : read_runs(plan, q, places)) {
    if (run.column("state") == "done" || run.diverged())
      set.runs.push_back(std::move(run));
    else
      ++set.unfinished;
  }
  find_missing(store, plan, set);
  Index index;
  for (RunData& run : set.runs) index[run.id] = &run;
  std::set<Measure::Kind> kinds;
  std::set<std::string> averaged, last;
  std::map<std::string, std::set<std::string>> of_sequence;  // by view
  for (const Measure& m : plan.measures) {
    kinds.insert(m.kind);
    if (m.kind == Measure::Kind::kAverage) averaged.insert(m.name);
    if (m.kind == Measure::Kind::kMetric) (plan.series ? averaged : last).insert(m.name);
    if (m.kind != Measure::Kind::kContinual) continue;
    const SequenceMeasure* named = find_sequence_measure(m.name);
    of_sequence[named ? named->view : "v_matrix"].insert(m.name);
  }
  if (kinds.count(Measure::Kind::kEval)) {
    plan.series ? add_eval_series(store, index) : add_evals(store, index);
  }
  for (const auto& [view, names] : of_sequence) {
    if (view == "v_matrix") {
      add_matrix(store, index);
    } else {
      add_sequence_measures(store, index, view, names);
    }
  }
  if (!last.empty()) add_metrics(store, index, last);
  for (const std::string& name : averaged) add_series(store, index, name);
  return set;
}

std::string split_shown(const RunSet& set, const TablePlan& plan) {
  if (plan.split != "auto") return plan.split;
  const bool all_final = !set.runs.empty() &&
                         std::all_of(set.runs.begin(), set.runs.end(),
                                     [](const RunData& r) { return r.column("final") == "true"; });
  return all_final ? "test" : "validation";
}

std::optional<double> value_of(const RunData& run, const Measure& m, const std::string& split) {
  switch (m.kind) {
    case Measure::Kind::kEval:
      return readout_value(run, run.evals, m, split);
    case Measure::Kind::kContinual:
      return readout_value(run, matrix_cell(m.name) ? run.matrix : run.sequence, m, split);
    case Measure::Kind::kMetric:
      return metric_value(run, m);
    case Measure::Kind::kAverage:
      return average_value(run, m);
    case Measure::Kind::kRun:
      break;
  }
  return parse_real(run.column(m.name));
}

std::map<std::int64_t, double> series_of(const RunData& run, const Measure& m,
                                         const std::string& split) {
  switch (m.kind) {
    case Measure::Kind::kMetric:
    case Measure::Kind::kAverage:
      return metric_series(run, m);
    case Measure::Kind::kEval:
      break;
    case Measure::Kind::kContinual:
    case Measure::Kind::kRun:
      throw ConfigError(fmt::format(
          "{} has no course: it is one number of a whole run. Measures that have one are accuracy, "
          "loss and bits_per_byte in any read-out, and metric:NAME@LAYER",
          m.text));
  }
  std::map<std::int64_t, double> values;
  for (const auto& [step, rows] : run.eval_series) {
    if (const auto value = readout_value(run, rows, m, split)) values[step] = *value;
  }
  return values;
}

}  // namespace tandem
