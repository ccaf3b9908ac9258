// The yardstick of the selection's benchmarks: one plain vectorised read of the scores, as a sum
// of whole blocks of 64 (a rest is left out). For benchmarks only.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/simd_clones.h"

namespace tandem {

TANDEM_SIMD_CLONES inline float read_once(const float* scores, std::int64_t n) {
  using Vector = float __attribute__((vector_size(32)));
  Vector sums[8] = {};
  for (std::int64_t i = 0; i + 64 <= n; i += 64) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      Vector eight;
      std::memcpy(&eight, scores + i + 8 * j, sizeof(eight));
      sums[j] += eight;
    }
  }
  float total = 0;
  for (const Vector& eight : sums) {
    for (int j = 0; j < 8; ++j) total += eight[j];
  }
  return total;
}

}  // namespace tandem
