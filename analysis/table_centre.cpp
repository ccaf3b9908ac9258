#include "analysis/table_centre.h"

#include <fmt/format.h>

#include "analysis/statistics.h"
#include "core/text.h"

namespace tandem {

void fill_centre(TableCell& cell, const TablePlan& plan, const Strata& strata) {
  std::vector<double> values;
  for (const auto& stratum : strata) values.insert(values.end(), stratum.begin(), stratum.end());
  if (plan.centre == Centre::kMean) {
    const Summary s = summarize(values);
    cell.mean = s.mean;
    cell.half = plan.spread == CellSpread::kDeviation && s.n > 2 ? s.sd : s.half;
    return;
  }
  const auto centre = plan.centre == Centre::kMedian ? median : interquartile_mean;
  cell.mean = centre(values);
  if (const auto interval = bootstrap_interval(strata, centre)) {
    cell.low = interval->low;
    cell.high = interval->high;
  }
}

std::string centre_text(Centre centre) {
  if (centre == Centre::kMean) return "mean";
  return centre == Centre::kMedian ? "median" : "interquartile mean";
}

std::string centre_note(const TablePlan& plan) {
  if (plan.centre == Centre::kMean) {
    return plan.spread == CellSpread::kDeviation
               ? "Means over seeds; ± is the sample's standard deviation."
               : "Means over seeds; ± is the half width of Student's 95% interval of the mean.";
  }
  const std::string what =
      plan.centre == Centre::kMedian
          ? "Medians over runs"
          : "Interquartile means over runs, without the lowest and the highest quarter";
  return fmt::format("{}; in brackets the 95% interval of {} replicates of the bootstrap{}.", what,
                     kReplicates,
                     plan.strata.empty() ? "" : ", drawn within each " + join(plan.strata, ", "));
}

}  // namespace tandem
