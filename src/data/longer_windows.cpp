#include "data/longer_windows.h"

#include <algorithm>

namespace tandem {

std::vector<std::int64_t> spaced_windows(std::int64_t begin, std::int64_t end, std::int64_t window,
                                         std::int64_t limit) {
  const std::int64_t whole = (end - begin) / window;
  const std::int64_t taken = limit > 0 ? std::min(limit, whole) : whole;
  std::vector<std::int64_t> starts;
  for (std::int64_t i = 0; i < taken; ++i) starts.push_back(begin + window * (i * whole / taken));
  return starts;
}

std::vector<std::int64_t> longer_windows(const Config& config, const Dataset& data,
                                         const std::vector<std::int64_t>& train,
                                         const std::string& split, std::int64_t multiple) {
  std::vector<std::int64_t> starts;
  if (split == "train") return starts;
  const std::vector<std::int64_t>& ranges =
      split == "test" ? data.test_ranges : data.validation_ranges;
  const std::int64_t window = multiple * config.integer("context") + 1;
  const std::int64_t said = config.integer("evaluation_windows");
  const std::int64_t limit = (said + multiple - 1) / multiple;
  for (std::size_t part = 0; part + 1 < data.train.size(); part += 2) {
    for (std::size_t own = 0; own + 1 < train.size(); own += 2) {
      if (train[own] != data.train[part]) continue;
      const auto found = spaced_windows(ranges[part], ranges[part + 1], window, limit);
      starts.insert(starts.end(), found.begin(), found.end());
    }
  }
  return starts;
}

}  // namespace tandem
