// What stands in a cell for its values, as the plan says: a mean with Student's interval or the
// sample's deviation, or a median or an interquartile mean with an interval by the bootstrap.
#pragma once

#include <string>

#include "analysis/bootstrap.h"
#include "analysis/table.h"
#include "analysis/table_plan.h"

namespace tandem {

// Sets the cell's centre and its spread, from all values of the strata together.
void fill_centre(TableCell& cell, const TablePlan& plan, const Strata& strata);

// "mean", "median", "interquartile mean".
std::string centre_text(Centre centre);
// A sentence: what cells are, and what follows them.
std::string centre_note(const TablePlan& plan);

}  // namespace tandem
