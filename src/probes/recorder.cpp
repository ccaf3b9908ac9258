#include "probes/recorder.h"

#include <cmath>

namespace tandem {

void Recorder::layer(std::int64_t replica, const std::string& level, const std::string& layer,
                     const std::string& name, double value, WholeNetRow whole) {
  if (!std::isfinite(value)) return;
  const auto r = static_cast<std::size_t>(replica);
  rows_[r].push_back({level.empty() ? layer : level + "/" + layer, name, value});
  if (whole == WholeNetRow::kNone) return;
  Total& total = totals_[r][{level, name}];
  total.sum += value;
  ++total.count;
  total.whole = whole;
}

void Recorder::whole(std::int64_t replica, const std::string& level, const std::string& name,
                     double value) {
  if (std::isfinite(value))
    rows_[static_cast<std::size_t>(replica)].push_back({level, name, value});
}

Measurements Recorder::finish() {
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    for (const auto& [key, total] : totals_[r]) {
      const double mean = total.sum / static_cast<double>(total.count);
      rows_[r].push_back(
          {key.first, key.second, total.whole == WholeNetRow::kSum ? total.sum : mean});
    }
    totals_[r].clear();
  }
  return std::move(rows_);
}

}  // namespace tandem
