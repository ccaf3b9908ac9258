// Published figures beside ours: a suite is a grid file, or a folder of them, with a file
// reference.json beside it. That file has
//
//   "sources": {NAME: {"cite", "protocol", "runs", "spread"}}   runs: repetitions behind a figure;
//                                             spread: what its spread is, sd, sem or ci (95%)
//   "rows": [{"grid", "method", "where", "measure", "mean", "spread", "gate", "source"}]
//
// grid is a grid file's name; where has conditions and measure is a measure as in tables; mean,
// spread and gate are in percent where the measure is a share. gate, [least, most], is where our
// mean must lie; runs, spread and gate may be left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/statistics.h"
#include "analysis/table_plan.h"
#include "store/store.h"

namespace tandem {

enum class Spread { kNone, kSd, kSem, kCi };

struct Published {
  std::string grid, method;
  std::vector<Condition> where;
  Measure measure;
  double mean = 0;
  std::optional<double> spread;
  Spread kind = Spread::kNone;
  std::optional<std::int64_t> runs;
  std::optional<std::pair<double, double>> gate;
  std::string cite, protocol;
};

// Throws ConfigError that names the file, the row and what was expected.
std::vector<Published> read_published(const std::string& file);
// The path that the file has beside a suite, whether it is there or not.
std::string published_beside(const std::string& suite);
// The figures of a grid as the database keeps them.
std::vector<ReferenceRecord> references_of(const std::string& grid,
                                           const std::vector<Published>& published);

struct Checked {
  Published published;
  Summary ours;            // of the runs that are done, in the units of `published`
  std::size_t wanted = 0;  // runs of the grid's file that meet the conditions
  std::size_t diverged = 0;
  std::string one;  // the id of one of the runs
  // (ours - published) / sqrt(our standard error squared + theirs squared), where both are known.
  std::optional<double> z;
  // Nothing: there is no gate, or no run.
  std::optional<bool> met;
  bool complete() const { return wanted > 0 && ours.n + diverged == wanted; }
  std::string split = {};  // whose evaluations these are
};

// The rows of `published` whose grid is the plan's; its `wanted` runs decide.
std::vector<Checked> check_published(const StoreReader& store, const std::string& grid,
                                     const WantedRuns& wanted,
                                     const std::vector<Published>& published);

// One row each, for analysis/query.h's render().
QueryResult checked_rows(const std::vector<Checked>& checked);

}  // namespace tandem
