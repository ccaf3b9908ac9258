// Contrasts that were written down before the runs: paired over seeds, tested together.
//   one vs    d_s = of_s - reference_s
//   two       d_s = (of_s - vs1_s) - (vs2_s - vs1 and vs2 both_s), the change of a difference
// A side's value of a seed is its run's, or, where the contrast is at a value of another measure,
// that of the line between the first two neighbours on the curve of its runs, by the option's
// rising numbers, between which the other measure takes this value; runs that diverged are not on
// it. Each row has the means of both sides, the mean of d with Student's 95% interval, the
// two-sided p of H0: mean d = 0, or of the test that the plan names, and its power: the smallest
// true difference that it finds in four of five repetitions at this spread and n, as a single test
// at 5% uncorrected. What survives is by Holm (1979) over the contrasts, so that surviving may take
// more.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "analysis/run_data.h"
#include "analysis/table.h"
#include "analysis/table_plan.h"
#include "config/config.h"

namespace tandem {

struct ContrastRow {
  TableRow row;  // contrast, measure; first, second, difference, detectable
  std::vector<std::vector<const RunData*>> groups;  // of each side: two, or four
};

// `form`: of the numbers of its measure. Throws ConfigError where a side has no run, or several of
// one seed.
ContrastRow contrast_row(const Contrast& contrast, const RunSet& set, const std::string& split,
                         const std::vector<std::string>& seed_names, const NumberForm& form,
                         const TablePlan& plan);

// Heads of the rows and columns, and what stands for a measure of each column.
std::vector<std::string> contrast_keys();
std::vector<Measure> contrast_columns(const TablePlan& plan);
// Holm's correction over all contrasts of the table, those without a p among them; marks what
// survives and adds the note that says what the columns are.
void mark_contrasts(Table& table, const TablePlan& plan);

// Before there are runs: throws ConfigError where a condition's key is no option or column, where
// no run that is wanted may meet a side's conditions (`open` as in may_meet), or where two sides
// are the same.
void check_contrasts(const std::vector<Contrast>& contrasts, const std::vector<Config>& wanted,
                     const std::set<std::string>& open = {});

}  // namespace tandem
