// Differences between a row and a reference row, seed by seed: d_s = row_s - reference_s over the
// seeds that both have, their mean, Student's 95% interval and the two-sided p of H0: mean d = 0,
// or of the test that the plan names. Holm (1979) corrects for the number of comparisons in one
// column.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analysis/hypothesis_tests.h"
#include "analysis/run_data.h"
#include "analysis/statistics.h"
#include "analysis/table.h"
#include "analysis/table_plan.h"

namespace tandem {

// The place among `places` (values of `names`) that `own` is compared with: the same but for
// `versus`. Where there is none, tuned_for and options that only one side has are left aside;
// of several that fit then, the one with tuned_for = own. Nothing where none fits or `own` is its
// own reference. Throws ConfigError where no place at all meets `versus`, or several fit.
std::optional<std::vector<std::string>> reference_of(
    const std::vector<std::string>& own, const std::vector<std::string>& names,
    const std::vector<Condition>& versus, const std::vector<std::vector<std::string>>& places);

struct PairedRuns {
  PairedTest test;
  std::vector<std::string> runs, reference;  // ids behind the pairs
  std::vector<std::string> diverged;         // of either side
  std::size_t lost = 0;                      // pairs with a diverged run
  std::string lost_where;                    // "seed 2 in this row, seed 3 in both"; "" where none
};

// Pairs runs of equal seeds (all columns in `seed_names`); a run without its partner, or without a
// value, is left out. Throws ConfigError where a side has several runs of one seed.
PairedRuns pair_runs(const std::vector<const RunData*>& own,
                     const std::vector<const RunData*>& reference, const Measure& measure,
                     const std::string& split, const std::vector<std::string>& seed_names,
                     const HypothesisTest& test);

// The runs by their seeds (all columns in `seed_names`). Throws ConfigError for two of one seed,
// with what they are of and what to do.
std::map<std::vector<std::string>, const RunData*> by_seed(
    const std::vector<const RunData*>& group, const std::vector<std::string>& seed_names,
    const std::string& what, const std::string& advice);

// A side's mean over these runs, with Student's interval.
TableCell mean_cell(const std::vector<double>& values, const std::vector<std::string>& runs,
                    const NumberForm& form);

// Marks a cell as one that survives Holm's correction.
void mark_survivor(TableCell& cell, bool survives);

// "p=.003", "p<.001".
std::string p_text(double p);

// "weights=rigl".
std::string versus_text(const Measure& measure);

// Sets `holm` and the mark * of the cells whose difference survives at 5% over their column, and
// adds the note that says so; nothing where no column is paired.
void mark_survivors(Table& table, const HypothesisTest& test);

// "With so few ... has no p" where that is so of any cell of the column; else "".
std::string out_of_reach_note(const Table& table, const HypothesisTest& test);

}  // namespace tandem
