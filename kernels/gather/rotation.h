// How a square image is turned about its centre, the one definition of it: each pixel shows the
// point that a turn by the angle brings there, which is a weighted sum of the four pixels around it
// (bilinear), and 0 where these lie outside of the image. Angles are counter-clockwise as the image
// is seen. The CPU and the GPU run the same lines, in double precision, and round alike.
#pragma once

#include <cmath>
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

// Rows grow downward, so that a turn to the left in the plane of the image is one to the right in
// coordinates (row, column).
TANDEM_HOST_DEVICE inline TurnedPixel turned_pixel(std::int64_t side, double cosine, double sine,
                                                   std::int64_t row, std::int64_t column) {
  const double centre = 0.5 * static_cast<double>(side - 1);
  const double y = static_cast<double>(row) - centre, x = static_cast<double>(column) - centre;
  const double from_x = product_apart(cosine, x) - product_apart(sine, y) + centre;
  const double from_y = product_apart(sine, x) + product_apart(cosine, y) + centre;
  const double left = floor(from_x), top = floor(from_y);
  TurnedPixel pixel;
  for (int tap = 0; tap < kTurnTaps; ++tap) {
    const double source_x = left + tap % 2, source_y = top + tap / 2;
    const double share = (1 - fabs(from_x - source_x)) * (1 - fabs(from_y - source_y));
    const bool inside = source_x >= 0 && source_y >= 0 && source_x < static_cast<double>(side) &&
                        source_y < static_cast<double>(side);
    const auto at_x = static_cast<std::int32_t>(source_x),
               at_y = static_cast<std::int32_t>(source_y);
    pixel.from[tap] = inside ? at_y * static_cast<std::int32_t>(side) + at_x : 0;
    pixel.weight[tap] = inside ? static_cast<float>(share) : 0.0F;
  }
  return pixel;
}

}  // namespace tandem
