#include "data/input_view.h"

#include <cmath>
#include <numbers>

#include "kernels/gather/gather_views.h"
#include "kernels/gather/rotation.h"

namespace tandem {

InputView permuted_view(const std::vector<std::int64_t>& order) {
  InputView view;
  for (const std::int64_t each : order) view.from.push_back(static_cast<std::int32_t>(each));
  return view;
}

InputView rotated_view(const ImageExtent& image, double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  const std::int64_t pixels = image.height * image.width;
  const auto entries = static_cast<std::size_t>(pixels * kTurnTaps);
  InputView view{kTurnTaps, std::vector<std::int32_t>(entries), std::vector<float>(entries)};
  turned_taps(image.height, image.width, std::cos(angle), std::sin(angle), view.from.data(),
              view.weight.data());
  for (std::int64_t channel = 1; channel < image.channels; ++channel) {
    for (std::size_t i = 0; i < entries; ++i) {
      view.from.push_back(view.from[i] + static_cast<std::int32_t>(channel * pixels));
      view.weight.push_back(view.weight[i]);
    }
  }
  return view;
}

std::vector<double> degrees_of(const std::vector<ExampleAngles::Arc>& arcs) {
  std::vector<double> degrees;
  for (const auto& [first, count] : arcs) {
    for (std::int64_t k = 0; k < count; ++k) {
      const double angle = first + static_cast<double>(k) * 360 / static_cast<double>(count);
      degrees.push_back(angle - 360 * std::floor(angle / 360));
    }
  }
  return degrees;
}

}  // namespace tandem
