// The loops load unconditionally and blend, which is what lets them run at memory speed.
#include "kernels/masked/masked.h"

#include <cstring>

#include "kernels/simd_clones.h"

namespace tandem {
namespace {

template <class T>
inline __attribute__((always_inline)) void blend(const T* __restrict__ w,
                                                 const std::uint8_t* __restrict__ m, std::int64_t n,
                                                 T* __restrict__ out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = w[i];
    out[i] = m[i] != 0 ? value : T(0);
  }
}

template <class T>
inline __attribute__((always_inline)) void blend_in_place(T* __restrict__ g,
                                                          const std::uint8_t* __restrict__ m,
                                                          std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = g[i];
    g[i] = m[i] != 0 ? value : T(0);
  }
}

TANDEM_SIMD_CLONES void copy(const float* w, const std::uint8_t* m, std::int64_t n, float* out) {
  blend(w, m, n, out);
}
TANDEM_SIMD_CLONES void copy(const double* w, const std::uint8_t* m, std::int64_t n, double* out) {
  blend(w, m, n, out);
}
TANDEM_SIMD_CLONES void in_place(float* g, const std::uint8_t* m, std::int64_t n) {
  blend_in_place(g, m, n);
}
TANDEM_SIMD_CLONES void in_place(double* g, const std::uint8_t* m, std::int64_t n) {
  blend_in_place(g, m, n);
}

template <class T>
int checked_copy(const T* w, const std::uint8_t* m, std::int64_t n, T* out) {
  if (n < 0 || (n > 0 && (w == nullptr || m == nullptr || out == nullptr))) return 1;
  copy(w, m, n, out);
  return 0;
}

template <class T>
int checked_selected(const T* w, const std::uint8_t* m, std::int64_t segments, std::int64_t n,
                     const std::uint8_t* full, T* out) {
  if (segments < 0 || n < 0) return 1;
  if (segments == 0 || n == 0) return 0;
  if (w == nullptr || m == nullptr || full == nullptr || out == nullptr) return 1;
  for (std::int64_t r = 0; r < segments; ++r) {
    if (full[r] != 0) {
      std::memcpy(out + r * n, w + r * n, static_cast<std::size_t>(n) * sizeof(T));
    } else {
      copy(w + r * n, m + r * n, n, out + r * n);
    }
  }
  return 0;
}

template <class T>
int checked_in_place(T* g, const std::uint8_t* m, std::int64_t n) {
  if (n < 0 || (n > 0 && (g == nullptr || m == nullptr))) return 1;
  in_place(g, m, n);
  return 0;
}

}  // namespace

int masked_copy(const float* w, const std::uint8_t* m, std::int64_t n, float* out) {
  return checked_copy(w, m, n, out);
}
int masked_copy(const double* w, const std::uint8_t* m, std::int64_t n, double* out) {
  return checked_copy(w, m, n, out);
}
int masked_copy_selected(const float* w, const std::uint8_t* m, std::int64_t segments,
                         std::int64_t n, const std::uint8_t* full, float* out) {
  return checked_selected(w, m, segments, n, full, out);
}
int masked_copy_selected(const double* w, const std::uint8_t* m, std::int64_t segments,
                         std::int64_t n, const std::uint8_t* full, double* out) {
  return checked_selected(w, m, segments, n, full, out);
}
int multiply_mask_in_place(float* g, const std::uint8_t* m, std::int64_t n) {
  return checked_in_place(g, m, n);
}
int multiply_mask_in_place(double* g, const std::uint8_t* m, std::int64_t n) {
  return checked_in_place(g, m, n);
}

}  // namespace tandem
