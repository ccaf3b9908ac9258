#include "kernels/digest/digest.h"

#include "core/philox.h"
#include "kernels/simd_clones.h"

namespace tandem::kernels {
namespace {

template <class Bits>
inline std::uint64_t sum_of_mixes(const Bits* bits, std::int64_t n) {
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    sum += mix64(bits[i] + static_cast<std::uint64_t>(i) * kDigestStep);
  }
  return sum;
}

}  // namespace

TANDEM_SIMD_CLONES std::uint64_t digest(const std::uint32_t* bits, std::int64_t n) {
  return sum_of_mixes(bits, n);
}

TANDEM_SIMD_CLONES std::uint64_t digest(const std::uint64_t* bits, std::int64_t n) {
  return sum_of_mixes(bits, n);
}

}  // namespace tandem::kernels
