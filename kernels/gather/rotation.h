// How an image is turned about its centre, the one definition of it: each pixel shows the
// point that a turn by the angle brings there, which is a weighted sum of the four pixels around it
// (bilinear), and 0 where these lie outside of the image. Angles are counter-clockwise as the image
// is seen. The CPU and the GPU run the same lines, in double precision, and round alike.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace tandem {

constexpr int kTurnTaps = 4;  // upper left, upper right, lower left, lower right

struct TurnedPixel {
  std::int32_t from[kTurnTaps];
  float weight[kTurnTaps];  // 0 outside of the image
};

// A product that no sum is fused with: a fused one would differ between the two. On the CPU the
// build of kernels turns fusing off.
TANDEM_HOST_DEVICE inline double product_apart(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

// A coordinate between the two places before and after it, the nearer of which counts more; 0 where
// a place lies outside of the image.
struct TurnedPlace {
  std::int32_t at[2];
  double share[2];
};

TANDEM_HOST_DEVICE inline TurnedPlace turned_place(std::int64_t length, double from) {
  const auto cut = static_cast<std::int32_t>(from);  // toward 0
  const std::int32_t before = cut - (static_cast<double>(cut) > from), after = before + 1;
  const auto end = static_cast<std::uint32_t>(length);
  const bool has_before = static_cast<std::uint32_t>(before) < end,
             has_after = static_cast<std::uint32_t>(after) < end;
  return {{has_before ? before : 0, has_after ? after : 0},
          {has_before ? 1 - (from - before) : 0, has_after ? 1 - (after - from) : 0}};
}

// Rows grow downward, so that a turn to the left in the plane of the image is one to the right in
// coordinates (row, column).
TANDEM_HOST_DEVICE inline TurnedPixel turned_pixel(std::int64_t height, std::int64_t width,
                                                   double cosine, double sine, std::int64_t row,
                                                   std::int64_t column) {
  const double middle_x = 0.5 * static_cast<double>(width - 1);
  const double middle_y = 0.5 * static_cast<double>(height - 1);
  const double y = static_cast<double>(row) - middle_y, x = static_cast<double>(column) - middle_x;
  const double from_x = product_apart(cosine, x) - product_apart(sine, y) + middle_x;
  const double from_y = product_apart(sine, x) + product_apart(cosine, y) + middle_y;
  const TurnedPlace x_place = turned_place(width, from_x), y_place = turned_place(height, from_y);
  TurnedPixel pixel;
  for (int tap = 0; tap < kTurnTaps; ++tap) {
    const int down = tap / 2, right = tap % 2;
    pixel.from[tap] = y_place.at[down] * static_cast<std::int32_t>(width) + x_place.at[right];
    pixel.weight[tap] = static_cast<float>(x_place.share[right] * y_place.share[down]);
  }
  return pixel;
}

}  // namespace tandem
