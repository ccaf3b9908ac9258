#include "probes/spectrum.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "data/tensor.h"

namespace tandem {
namespace {

constexpr double kSrankShare = 0.99;

// Returns how many of the values, which descend, together have this share of their sum.
double count_of_share(const std::vector<double>& values, double share) {
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  if (!(total > 0)) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  std::size_t count = 0;
  while (count < values.size() && sum < share * total) sum += values[count++];
  return static_cast<double>(count);
}

}  // namespace

std::vector<double> singular_values(const at::Tensor& matrix) {
  const at::Tensor values = at::linalg_svdvals(matrix.to(torch::kCPU, torch::kDouble)).contiguous();
  const auto* begin = values.data_ptr<double>();
  return {begin, begin + values.numel()};
}

double effective_count(const std::vector<double>& values) {
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  double entropy = 0;
  for (const double value : values) {
    const double p = value / total;
    if (p != 0) entropy -= p * std::log(p);
  }
  return std::exp(entropy);
}

Spectrum spectrum_of(const at::Tensor& matrix) {
  const std::vector<double> values = singular_values(matrix);
  const double largest = values.empty() ? 0 : values.front();
  const double energy = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
  return {largest, energy / (largest * largest), effective_count(values),
          count_of_share(values, kSrankShare)};
}

}  // namespace tandem
