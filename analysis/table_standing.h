// Which rows of a table are the best of a column, among all of them or among those that agree in
// what the plan's `within` names. The best is the largest or least mean, by the column's direction,
// of those over most seeds: a mean over fewer is not called the best. Tied with it are those that
// the paired t test over the common seeds does not tell from it, after Holm's correction over the
// rows that are compared with it; where fewer than three pairs are common there is no test, and no
// tie. The next mean after all these is the second.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "analysis/run_data.h"
#include "analysis/table.h"

namespace tandem {

struct StandingRuns {
  std::string split;
  std::vector<std::string> seed_names;
  std::function<std::vector<const RunData*>(std::size_t row, std::size_t column)> runs_of;
};

// Sets each cell's standing; plan.bold is kBest or kTied. Returns the note that says what is
// marked.
std::string mark_standing(Table& table, const TablePlan& plan, const StandingRuns& runs);

}  // namespace tandem
