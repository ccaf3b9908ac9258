// The reference: every eligible index, stably sorted.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/select/select.h"

namespace tandem {

int select_top_ref(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   std::int64_t k, bool largest, std::uint8_t* chosen) {
  if (n < 0 || k < 0 || (n > 0 && (scores == nullptr || chosen == nullptr))) {
    return kSelectBadArguments;
  }
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < n; ++i) {
    if (eligible == nullptr || eligible[i] != 0) order.push_back(i);
  }
  if (k > static_cast<std::int64_t>(order.size())) return kSelectTooFew;
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b])) {
      return !std::isnan(scores[a]) && std::isnan(scores[b]);
    }
    return largest ? scores[a] > scores[b] : scores[a] < scores[b];
  });
  std::fill(chosen, chosen + n, std::uint8_t{0});
  for (std::int64_t i = 0; i < k; ++i) chosen[order[i]] = 1;
  return kSelectDone;
}

}  // namespace tandem
