#include "kernels/gather/gather_views.h"

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

}  // namespace tandem
