#include "data/input_view.h"

#include <cmath>
#include <numbers>

namespace tandem {

InputView permuted_view(const std::vector<std::int64_t>& order) {
  InputView view;
  for (const std::int64_t each : order) view.from.push_back(static_cast<std::int32_t>(each));
  return view;
}

// Rows grow downward, so that a turn to the left in the plane of the image is one to the right in
// coordinates (row, column).
InputView rotated_view(std::int64_t side, double degrees) {
  InputView view;
  view.taps = 4;
  const double angle = degrees * std::numbers::pi / 180,
               centre = 0.5 * static_cast<double>(side - 1);
  const double cosine = std::cos(angle), sine = std::sin(angle);
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      const double y = static_cast<double>(row) - centre, x = static_cast<double>(column) - centre;
      const double from_x = cosine * x - sine * y + centre, from_y = sine * x + cosine * y + centre;
      const double left = std::floor(from_x), top = std::floor(from_y);
      for (const int down : {0, 1}) {
        for (const int right : {0, 1}) {
          const double source_x = left + right, source_y = top + down;
          const double share =
              (1 - std::abs(from_x - source_x)) * (1 - std::abs(from_y - source_y));
          const bool inside = source_x >= 0 && source_y >= 0 &&
                              source_x < static_cast<double>(side) &&
                              source_y < static_cast<double>(side);
          view.from.push_back(
              inside ? static_cast<std::int32_t>(source_y * static_cast<double>(side) + source_x)
                     : 0);
          view.weight.push_back(inside ? static_cast<float>(share) : 0.0F);
        }
      }
    }
  }
  return view;
}

}  // namespace tandem
