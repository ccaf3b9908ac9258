// What a table shows: a [table NAME] section of a grid file, or the options of `tandem table`.
//
//   rows    = weights, density     columns of v_run (options, state, ...); their values make rows
//   columns = accuracy@full, accuracy@sparse/2 as half, metric:kept_mass@weights
//   across  = density              optional: the columns again for each value of these
//   where   = density=0.1 weights=ssa|rigl      optional: conditions on v_run; | means any of
//   grid    = NAME                 optional: only the runs of this grid
//   split   = auto                 test where all runs are final, else validation; or a split
//   digits  = 2                    optional: decimals of all columns
//   bold    = none                 none, best or tied: what is marked in each column
//   higher, lower = half           optional: labels of columns where that is better
//   within  = density              optional, of rows: the best among the rows that agree in these
//   centre  = mean                 of a cell's values; median or iqm (the mean of their middle
//   half)
//                                  have a 95% interval by the bootstrap
//   strata  = data                 optional: the bootstrap draws from the runs of each value of
//   these spread  = ci95                 what follows ±: half of Student's interval; or sd, of the
//   sample test    = paired_t             of differences: paired_t, welch, wilcoxon, mann_whitney
//   rope    = 0.5                  of contrasts, optional, in the unit that is printed: how
//   probable it is
//                                  that the difference is below, within or above this (bayes.h)
//   effect  = dz                   of contrasts, optional: how large they are: dz, g, superiority
//   title   = ...                  optional
//
// A column is a measure, NAME[@READOUT] [vs OPTION=VALUE] [as LABEL]:
//   accuracy, loss, bits_per_byte  of the last stage, pooled over its tasks
//   acc, f_chaudhry, bwt_gem, ...  of the whole task sequence (sequence_measures.h);
//                                  r_5_1: accuracy on task 1 after task 5
//   metric:NAME[@LAYER]            last value of a logged metric. LAYER: a level ("weights") or a
//                                  layer of one ("weights/fc1"); a place without a row of its own
//                                  is the mean over the layers below it. Without LAYER: the whole
//                                  net, or the one level that has the metric
//   average:NAME[@LAYER]           mean of a logged metric over all steps at which the run has it,
//                                  each counting once; LAYER as above, at each step
//   train_flops, inference_flops, seconds, or any other number that v_run has
// A read-out is `full` (the default), `sparse`, `sparse/2`, `sparse*4`, or names its levels:
// attention=sparse/2,weights=own (LevelReadout says what `own` is). Factors are relative to the
// budget that the run trained at (density; blocks). Without names, `sparse` means both levels where
// a run was read out so, else the one that was (neither where each was read out alone). `,masked`
// takes the logits masked to the task's classes, which a run that was evaluated in no other way
// (task-IL) has anyway.
// `,context*4` is a read-out of windows four times as long as the run's `context` (eval_contexts),
// `,scaling=ntk` with rotary positions scaled so (eval_scalings; without it: as trained), and
// `,beyond` of the targets beyond the trained length alone. Without them the trained length is
// meant.
//
// In place of rows a table may have ranks (table_ranks.h): methods, the values of the columns
// `ranks`, over data sets or settings, the values of the columns `over`.
//
//   ranks = weights, density
//   over  = data, scenario
//
// In place of rows and columns a table may have contrasts, decided beforehand and tested together:
//
//   contrast.alignment = accuracy@sparse of weights=ssa normalize=raw vs weights=alternate
//   contrast.growth    = accuracy@sparse of weights=ssa normalize=raw vs weights=alternate
//                        vs normalize=standardized        (on one line; the second vs)
//
// The first is the paired difference between the runs that meet the conditions after `of` and those
// that meet them but for what `vs` says (OPTION= drops a condition). With a second vs it is the
// difference of two such differences. See table_contrast.h.
//
// Where the runs of a side differ in a number as well, a measure may be had where another one has a
// value, for each seed between the neighbours on the curve that the number draws:
//
//   contrast.static = f_chaudhry@own at learning_accuracy@own=0.98 over lr of weights=static vs
//                     weights=dense                            (on one line)
//
// With `vs weights=rigl` a cell is the mean over the common seeds of the row's value minus that of
// the row that is the same but for weights=rigl; the option must be of rows or across. Several
// conditions are parted by spaces: vs weights=dense tuned_for=sparse. See table_paired.h.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/wanted_runs.h"
#include "config/grid.h"

namespace tandem {

struct LevelReadout {
  bool sparse = false;
  double factor = 1;  // of the trained budget
  // Of attention the stream that the method trains, full where these are both; of weights full
  // where the run was read out so. Else sparse at the trained budget.
  bool own = false;
};

struct Readout {
  bool by_level = false;  // false: both are equal, and `sparse` is settled run by run
  LevelReadout attention, weights;
  bool masked = false;
  double context = 1;        // length of the windows, of the trained one
  std::string scaling = {};  // of rotary positions there; "": as trained
  bool beyond = false;       // targets beyond the trained length alone
};

struct Measure {
  enum class Kind { kEval, kContinual, kMetric, kAverage, kRun };
  std::string text;   // as said, without its label
  std::string label;  // heads the column
  Kind kind = Kind::kEval;
  std::string name;                    // accuracy, f_chaudhry, kept_mass, train_flops, ...
  Readout readout;                     // kEval, kContinual
  std::string layer;                   // kMetric, kAverage
  std::vector<Condition> versus = {};  // the reference row, where this is a difference from it
};

// A measure is had where `by` has this value, on the curve over an option's numbers.
struct Matched {
  Measure by;
  double value = 0;
  std::string over;
};

struct Contrast {
  std::string name, text;
  Measure measure;
  std::vector<Condition> of;
  std::vector<std::vector<Condition>> versus;  // one, or two
  std::optional<Matched> at = {};
};

// Which way a measure is better, where that is known or said.
enum class Direction { kNone, kHigher, kLower };
Direction direction_of(const Measure& measure);

// What is marked in each column that has a direction: nothing, the best row, or that and those that
// no test tells from it (table_standing.h).
enum class Bold { kNone, kBest, kTied };

// What stands for a cell's values, and what is told of their spread.
enum class Centre { kMean, kMedian, kIqm };
enum class CellSpread { kInterval, kDeviation };

struct TablePlan {
  std::string name, title, grid;
  std::vector<std::string> rows, across;
  std::vector<std::string> ranks = {}, over = {};
  std::vector<Measure> measures;
  std::vector<Contrast> contrasts = {};  // then measures are theirs
  std::vector<Condition> where;
  std::string split = "auto";
  std::optional<int> digits;
  Bold bold = Bold::kNone;
  std::vector<std::string> higher = {}, lower = {};  // labels of columns whose direction is said
  std::vector<std::string> within = {};  // of rows: only rows that agree in these are compared
  Centre centre = Centre::kMean;
  CellSpread spread = CellSpread::kInterval;
  std::vector<std::string> strata = {};
  std::string test = "paired_t";    // hypothesis_tests.h
  std::string effect = {};          // of contrasts; "": none
  std::optional<double> rope = {};  // of contrasts
  Settings said = {};               // all of these as they were said
  bool series = false;              // a figure's: the measures at all steps, not at the last alone
  // The runs of a file that was named. They decide; without them `grid` is a name in the store.
  std::optional<WantedRuns> wanted = {};
};

// Names of the measures that have read-outs, but for r_STAGE_TASK.
std::vector<std::string> readout_measures();

// All of these throw ConfigError that names the part, what was expected and the nearest names.
Measure parse_measure(const std::string& text);
std::vector<Measure> parse_measures(const std::string& list);  // parted by commas
std::vector<std::string> split_keys(const std::string& list);  // columns of v_run, likewise
Contrast parse_contrast(const std::string& name, const std::string& text);
std::vector<Condition> parse_conditions(const std::string& text);
// What the plan's higher and lower say goes before what is known.
Direction direction_said(const TablePlan& plan, const Measure& measure);
TablePlan plan_table(const TableSpec& spec);

// What a [table] section may say besides contrasts, and the command line as well.
struct TableSetting {
  std::string name, help;
  void (*apply)(TablePlan& plan, const std::string& value);
};
const std::vector<TableSetting>& table_settings();

// "weights=rigl|set density=0.1".
std::string conditions_text(const std::vector<Condition>& conditions);

// How the measure's numbers are printed.
bool is_share(const Measure& measure);  // in [-1, 1] and printed in percent
int decimals(const Measure& measure);   // -1: three significant digits

}  // namespace tandem
