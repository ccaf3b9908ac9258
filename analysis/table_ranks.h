// Tables of ranks: methods over several data sets or settings, each a block, in which a method's
// value is the mean over its runs. See ranks.h for the tests.
#pragma once

#include <string>
#include <vector>

#include "analysis/run_data.h"
#include "analysis/table.h"
#include "analysis/table_plan.h"

namespace tandem {

// Of one measure: the methods and blocks that have all of their values, and what their ranks say.
struct RankedRuns {
  std::vector<std::vector<std::string>> methods, blocks;  // values of the plan's ranks, and of over
  std::vector<std::vector<double>> scores;                // [block][method]
  std::vector<std::vector<std::string>> runs;             // of each method, in these blocks
  std::size_t diverged = 0;                               // runs
  std::size_t left_out = 0;                               // blocks that lack a method
};

// Throws ConfigError where fewer than two methods or blocks are complete.
RankedRuns ranked_runs(const RunSet& set, const TablePlan& plan, const Measure& measure,
                       const std::string& split);

// ConfigError where nothing says it.
bool is_higher_better(const TablePlan& plan, const Measure& measure);

// Adds heads, rows and notes: the mean rank of each method, and the p of each pair after Holm.
void add_ranks(Table& table, const RunSet& set, const TablePlan& plan, const std::string& split);

}  // namespace tandem
