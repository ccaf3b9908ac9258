// The trials of a grid's [tune] sections, as far as they are known: a pure function of the grid and
// of the scores so far, so that a grid that was killed goes on where it was.
//
// A cell is what is chosen for: the runs that differ in seeds alone. Round 0 draws `trials` points
// for each cell (or takes every point of the lists). Where the best point lies in the outer tenth
// of a range, half as many points are drawn from beyond that end, from a window of half the range's
// width, at most twice per axis and never beyond the option's bounds. Then the choice stands.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/grid.h"

namespace tandem {

// Higher is better; NaN where the run diverged, nothing where it has not ended. `tuned_for`: the
// read-out that counts.
using TuningScore =
    std::function<std::optional<double>(const Config& run, const std::string& tuned_for)>;

struct TuningPoint {
  Settings values;
  std::string text;                 // "lr=0.1 weight_decay=0.001"
  std::int64_t round = 0;           // 0: from the file's ranges; later ones extended them
  std::vector<Config> runs;         // one per tuning seed
  std::vector<double> scores = {};  // theirs
  double score = 0;                 // the mean
};

// The choice lies at the end of what was tried.
struct TuningEdge {
  std::string axis, value;
  bool extended = false;  // a range, after its last extension; else a list
};

struct TuningCell {
  std::string method;  // settings without seeds and tuned axes, "key=value" joined by spaces
  std::string tuned_for;
  std::vector<TuneAxis> axes;
  std::vector<TuningPoint> points;
  bool complete = false;
  std::size_t best = 0;  // of points; where complete
  std::vector<TuningEdge> edges;
};

struct TuningState {
  std::vector<TuningCell> cells;
  std::vector<std::size_t> cell_of_run;  // of each of grid.runs

  bool complete() const;
  std::vector<Config> trials() const;  // each run once, though cells may share it
};

// Throws ConfigError where every trial of a cell diverged, or where its axes have too few points.
TuningState plan_tuning(const Grid& grid, const TuningScore& score,
                        const ConfigTables& tables = program_tables());

// The i-th of the grid's runs at what was chosen for it, marked final; none where its cell is not
// complete.
std::optional<Config> final_run(const Grid& grid, const TuningState& state, std::size_t i,
                                const ConfigTables& tables = program_tables());
// All of them. Needs a complete state.
std::vector<Config> final_runs(const Grid& grid, const TuningState& state,
                               const ConfigTables& tables = program_tables());

// What a cell's method has that not all cells share: "density=0.1 weights=ssa".
std::string short_name(const TuningCell& cell, const TuningState& state);

// One line per axis with an optimum at the end of what was tried.
std::vector<std::string> edge_warnings(const TuningState& state);

}  // namespace tandem
