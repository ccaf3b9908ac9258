// Two sets of runs side by side, setting by setting: two grids, or one in two databases, such as
// those of two revisions or machines. Settings are alike where all options but seeds are, options
// aside that have one value on each side and another on the other, which the table names.
#pragma once

#include <string>
#include <vector>

#include "analysis/hypothesis_tests.h"
#include "analysis/run_data.h"
#include "analysis/table.h"

namespace tandem {

struct DiffSide {
  std::string name;  // as it is said
  RunSet set;
  std::string split;  // whose rows it shows
};

// A row for each setting that both have; for each measure the means of both sides and the mean
// difference, first less second, over common seeds, with the test's p and Holm's correction over
// the rows. Notes tell how the sides differ, and which settings only one of them has. Throws
// ConfigError where they have no setting in common.
Table diff_table(const DiffSide& first, const DiffSide& second,
                 const std::vector<Measure>& measures, const HypothesisTest& test);

}  // namespace tandem
