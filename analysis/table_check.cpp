#include "analysis/table_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "analysis/run_data.h"
#include "analysis/table_contrast.h"
#include "core/error.h"
#include "core/text.h"
#include "store/store.h"

namespace tandem {
namespace {

std::vector<Config> that_may_meet(const std::vector<Config>& runs,
                                  const std::vector<Condition>& conditions,
                                  const std::set<std::string>& open) {
  std::vector<Config> found;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(found),
               [&](const Config& run) { return may_meet(run, conditions, open); });
  return found;
}

}  // namespace

void check_table(const TablePlan& plan, const std::string& grid, const std::vector<Config>& wanted,
                 const std::set<std::string>& open) {
  expect_columns(plan, run_columns());
  if (!plan.grid.empty() && plan.grid != grid) return;
  const std::vector<Config> shown = that_may_meet(wanted, plan.where, open);
  if (shown.empty())
    throw ConfigError(fmt::format("table {}: no run of the grid can meet where = {}", plan.name,
                                  conditions_text(plan.where)));
  for (const Measure& measure : plan.measures) {
    if (!measure.versus.empty() && that_may_meet(shown, measure.versus, open).empty())
      throw ConfigError(fmt::format(
          "table {}, column \"{}\": no run of the table can have {}, which it compares with",
          plan.name, measure.text, conditions_text(measure.versus)));
  }
  check_contrasts(plan.contrasts, shown, open);
}

}  // namespace tandem
