// The runs that a table may use and their numbers, read from the store in a few queries.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analysis/table_plan.h"
#include "store/store.h"

namespace tandem {

struct ReadoutKey {
  std::string attention_readout;
  std::optional<double> attention_budget;
  std::string weights_readout;
  std::optional<double> weights_budget;
  bool masked = false;
  std::string split;
  std::optional<double> context = {};  // tokens of a window; nothing: as trained
  std::string scaling = {}, condition = {};
};

struct ReadoutRow {
  ReadoutKey key;
  std::map<std::string, double> values;  // by measure name; absent where there is none
};

struct MetricValue {
  std::string layer;
  double value = 0;
};
using MetricValues = std::vector<MetricValue>;

struct RunData {
  std::string id;
  std::map<std::string, std::string> columns;   // of v_run, NULL left out
  std::vector<ReadoutRow> evals;                // last stage
  std::vector<ReadoutRow> sequence;             // of the whole task sequence
  std::vector<ReadoutRow> matrix;               // R(i, j), by MatrixCell::name()
  std::map<std::string, MetricValues> metrics;  // at each one's last step
  // By step: of metrics whose measure is an average or whose plan asks for series, and of
  // evaluations where the plan does.
  std::map<std::string, std::map<std::int64_t, MetricValues>> series;
  std::map<std::int64_t, std::vector<ReadoutRow>> eval_series;

  // Text of a column; "" where it is NULL.
  const std::string& column(const std::string& name) const;
  bool diverged() const { return column("state") == "diverged"; }
  bool meets(const std::vector<Condition>& where) const;  // all of them
};

struct RunSet {
  std::vector<std::string> column_names;  // of v_run
  std::vector<RunData> runs;              // done or diverged, in the order of the grid or the store
  std::size_t unfinished = 0;             // met the conditions, but neither done nor diverged
  std::size_t wanted = 0;                 // runs of the grid; of a file's, those that may meet them
  std::size_t never_run = 0;              // of a grid in the store: its runs that have no row
  std::vector<MissingRun> missing = {};   // of a file's: neither done nor diverged, or not there
};

// What of a grid is not shown, in a sentence; "" where all of it is.
std::string missing_note(const RunSet& set, const TablePlan& plan);

// Columns of v_run that tell how a run went or where, not what was asked for.
bool is_outcome(const std::string& column);

// ConfigError for a key of the plan that is not among v_run's columns, which names the nearest of
// these and, of a column of the table, of measures and logged metrics as well.
void expect_columns(const TablePlan& plan, const std::vector<std::string>& names,
                    const std::vector<std::string>& metrics = {});

// Throws ConfigError for an unknown key or grid.
RunSet select_runs(const StoreReader& store, const TablePlan& plan);

// The split whose rows a plan shows: where it says auto, test where all runs are final.
std::string split_shown(const RunSet& set, const TablePlan& plan);

// The measure's value of one run that is done; nothing where it was not measured. `split` as in
// ReadoutKey.
std::optional<double> value_of(const RunData& run, const Measure& measure,
                               const std::string& split);

// The same by the optimizer steps at which it was measured, of a plan with series. An evaluation is
// pooled over the tasks that were evaluated at the step. Throws ConfigError for a measure that has
// no steps: one of a whole sequence, or a column of v_run.
std::map<std::int64_t, double> series_of(const RunData& run, const Measure& measure,
                                         const std::string& split);

}  // namespace tandem
