#include "analysis/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/philox.h"

namespace tandem {
namespace {

constexpr std::size_t kLeastValues = 3;

// A quantile of rising values, by linear interpolation between the two beside it.
double quantile(const std::vector<double>& rising, double share) {
  const double place = share * static_cast<double>(rising.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, rising.size() - 1);
  return rising[below] + (place - static_cast<double>(below)) * (rising[above] - rising[below]);
}

}  // namespace

double interquartile_mean(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto cut = static_cast<std::ptrdiff_t>(values.size() / 4);
  const auto left = static_cast<double>(values.size()) - 2 * static_cast<double>(cut);
  return std::accumulate(values.begin() + cut, values.end() - cut, 0.0) / left;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::optional<BootstrapInterval> bootstrap_interval(const Strata& strata,
                                                    double (*centre)(std::vector<double>)) {
  const bool enough = std::any_of(strata.begin(), strata.end(),
                                  [](const auto& s) { return s.size() >= kLeastValues; });
  if (!enough) return std::nullopt;
  const std::uint64_t key = stream_key(0, "bootstrap");
  std::uint64_t block_number = 0;
  PhiloxBlock block = {};
  std::size_t used = 4;
  const auto below = [&](std::size_t n) {
    if (used == 4) {
      block = philox4x32(key, block_number++);
      used = 0;
    }
    return static_cast<std::size_t>((std::uint64_t{block.word[used++]} * n) >> 32);
  };
  std::vector<double> centres(kReplicates), drawn;
  for (double& each : centres) {
    drawn.clear();
    for (const auto& stratum : strata)
      for (std::size_t i = 0; i < stratum.size(); ++i)
        drawn.push_back(stratum[below(stratum.size())]);
    each = centre(drawn);
  }
  std::sort(centres.begin(), centres.end());
  return BootstrapInterval{quantile(centres, 0.025), quantile(centres, 0.975)};
}

}  // namespace tandem
