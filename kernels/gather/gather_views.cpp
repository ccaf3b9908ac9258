#include "kernels/gather/gather_views.h"

#include <algorithm>

#include "kernels/gather/rotation.h"

namespace tandem {

template <class T>
void gather_views(const ViewedRows& viewed, T* out) {
  const T scale = static_cast<T>(viewed.scale), shift = static_cast<T>(viewed.shift);
  const std::int64_t features = viewed.features, taps = viewed.taps;
  for (std::int64_t i = 0; i < viewed.count; ++i, out += features) {
    const std::uint8_t* row = viewed.rows + viewed.index[i] * features;
    const std::int32_t* from = viewed.from + viewed.view[i] * features * taps;
    if (viewed.weight == nullptr) {
      for (std::int64_t f = 0; f < features; ++f) {
        const T scaled = static_cast<T>(row[from[f]]) * scale;
        out[f] = scaled + shift;
      }
      continue;
    }
    const float* weight = viewed.weight + viewed.view[i] * features * taps;
    for (std::int64_t f = 0; f < features; ++f) {
      T sum = 0;
      for (std::int64_t t = f * taps; t < (f + 1) * taps; ++t) {
        const T part = static_cast<T>(weight[t]) * static_cast<T>(row[from[t]]);
        sum = sum + part;
      }
      const T scaled = sum * scale;
      out[f] = scaled + shift;
    }
  }
}

template void gather_views(const ViewedRows& viewed, float* out);
template void gather_views(const ViewedRows& viewed, double* out);

template <class T>
void gather_turned(const TurnedRows& turned, T* out) {
  const T scale = static_cast<T>(turned.scale), shift = static_cast<T>(turned.shift);
  const std::int64_t side = turned.side;
  for (std::int64_t i = 0; i < turned.count; ++i) {
    const std::uint8_t* image = turned.rows + turned.index[i] * side * side;
    const double* turn = turned.turn + 2 * std::int64_t{turned.angle[i]};
    for (std::int64_t row = 0; row < side; ++row) {
      for (std::int64_t column = 0; column < side; ++column) {
        const TurnedPixel pixel = turned_pixel(side, side, turn[0], turn[1], row, column);
        T sum = 0;
        for (int tap = 0; tap < kTurnTaps; ++tap) {
          const T part = static_cast<T>(pixel.weight[tap]) * static_cast<T>(image[pixel.from[tap]]);
          sum = sum + part;
        }
        const T scaled = sum * scale;
        *out++ = scaled + shift;
      }
    }
  }
}

template void gather_turned(const TurnedRows& turned, float* out);
template void gather_turned(const TurnedRows& turned, double* out);

void turned_taps(std::int64_t height, std::int64_t width, double cosine, double sine,
                 std::int32_t* from, float* weight) {
  for (std::int64_t row = 0; row < height; ++row) {
    for (std::int64_t column = 0; column < width; ++column) {
      const TurnedPixel pixel = turned_pixel(height, width, cosine, sine, row, column);
      from = std::copy(pixel.from, pixel.from + kTurnTaps, from);
      weight = std::copy(pixel.weight, pixel.weight + kTurnTaps, weight);
    }
  }
}

}  // namespace tandem
