// What can be told of a grid's tables before there are runs: keys and columns that v_run lacks,
// conditions that no run of the grid can meet, contrasts without a side.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "analysis/table_plan.h"
#include "config/config.h"

namespace tandem {

// `wanted`: the runs that the table will show, `grid` their grid; of a table that names another
// grid only the keys are checked. `open`: options that tuning will choose. Throws ConfigError.
void check_table(const TablePlan& plan, const std::string& grid, const std::vector<Config>& wanted,
                 const std::set<std::string>& open = {});

}  // namespace tandem
