// The loops of sieve.h.
#include "kernels/select/sieve.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/simd_clones.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TANDEM_INLINE inline __attribute__((always_inline))

namespace tandem::selecting {
namespace {

// Unit is the whole key or its upper half. 0: below or NaN, 1: above, 2: between.
template <class T, class Unit, bool kLargest, bool kEligible>
TANDEM_INLINE void split_loop(const T* __restrict__ scores,
                              const std::uint8_t* __restrict__ eligible, std::int64_t n,
                              const Sieve<Unit>& sieve, std::uint8_t* __restrict__ kinds) {
  using Signed = std::make_signed_t<Unit>;
  constexpr int kUnitBits = 8 * sizeof(Unit), kDropped = Layout<T>::kBits - kUnitBits;
  const Unit origin = sieve.origin;
  const Signed between_below = sieve.between_below, above_below = sieve.above_below;
  const Signed top = sieve.top;
  Signed wide[kBlock];
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<Signed>(std::bit_cast<KeyOf<T>>(scores[i]) >> kDropped);
    const auto negative = static_cast<Signed>(bits >> (kUnitBits - 1));
    const auto ordered = static_cast<Unit>(bits ^ (negative & std::numeric_limits<Signed>::max()));
    const auto place = static_cast<Signed>(kLargest ? ordered - origin : origin - ordered);
    const bool between = (place < between_below) | (kDropped > 0 && place == top);
    wide[i] = static_cast<Signed>((place < above_below ? 1 : 0) + (between ? 1 : 0));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto kind = static_cast<std::uint8_t>(wide[i]);
    kinds[i] = !kEligible || eligible[i] != 0 ? kind : 0;
  }
}

// Bit i tells whether byte i is 2, for 64 bytes of 0, 1 or 2.
TANDEM_INLINE std::uint64_t pack_twos(const std::uint8_t* kinds) {
  std::uint64_t packed = 0;
#ifdef __SSE2__
  for (int part = 0; part < 4; ++part) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kinds + 16 * part));
    const auto bits = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_slli_epi16(bytes, 6)));
    packed |= static_cast<std::uint64_t>(bits) << (16 * part);
  }
#else
  for (int i = 0; i < 64; ++i) packed |= static_cast<std::uint64_t>(kinds[i] >> 1) << i;
#endif
  return packed;
}

template <class T, class Unit>
TANDEM_INLINE std::int64_t split_any(const T* scores, const std::uint8_t* eligible, std::int64_t n,
                                     const Sieve<Unit>& sieve, std::uint64_t* between,
                                     std::uint8_t* above) {
  alignas(32) std::uint8_t kinds[kBlock];
  if (eligible == nullptr && sieve.largest) {
    split_loop<T, Unit, true, false>(scores, eligible, n, sieve, kinds);
  } else if (eligible == nullptr) {
    split_loop<T, Unit, false, false>(scores, eligible, n, sieve, kinds);
  } else if (sieve.largest) {
    split_loop<T, Unit, true, true>(scores, eligible, n, sieve, kinds);
  } else {
    split_loop<T, Unit, false, true>(scores, eligible, n, sieve, kinds);
  }
  std::memset(kinds + n, 0, static_cast<std::size_t>((n + 63) / 64 * 64 - n));
  for (std::int64_t base = 0; base < n; base += 64) between[base / 64] = pack_twos(kinds + base);
  if (above == nullptr) return 0;
  for (std::int64_t i = 0; i < n; ++i) above[i] = kinds[i] & 1;
  return count_ones(above, n);
}

template <class T>
TANDEM_INLINE void equal_loop(const T* __restrict__ scores,
                              const std::uint8_t* __restrict__ eligible, std::int64_t n,
                              KeyOf<T> flip, KeyOf<T> key, std::uint8_t* __restrict__ equal) {
  if (eligible == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) equal[i] = key_of(scores[i], flip) == key;
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      equal[i] = (key_of(scores[i], flip) == key) & (eligible[i] != 0);
    }
  }
}

TANDEM_SIMD_CLONES void range_of(const std::uint32_t* keys, std::int64_t n, std::uint32_t* low,
                                 std::uint32_t* high) {
  std::uint32_t smallest = keys[0], largest = keys[0];
  for (std::int64_t i = 1; i < n; ++i) {
    smallest = std::min(smallest, keys[i]);
    largest = std::max(largest, keys[i]);
  }
  *low = smallest;
  *high = largest;
}
TANDEM_SIMD_CLONES void range_of(const std::uint64_t* keys, std::int64_t n, std::uint64_t* low,
                                 std::uint64_t* high) {
  std::uint64_t smallest = keys[0], largest = keys[0];
  for (std::int64_t i = 1; i < n; ++i) {
    smallest = std::min(smallest, keys[i]);
    largest = std::max(largest, keys[i]);
  }
  *low = smallest;
  *high = largest;
}

template <class Key>
Kth<Key> find_kth(const Key* keys, std::int64_t n, std::int64_t rank) {
  constexpr int kBucketBits = 11;
  Key low, high;
  range_of(keys, n, &low, &high);
  const int shift = std::max(0, static_cast<int>(std::bit_width(Key(high - low))) - kBucketBits);
  std::array<std::int64_t, std::size_t{1} << kBucketBits> counts{};
  for (std::int64_t i = 0; i < n; ++i) ++counts[Key(keys[i] - low) >> shift];

  std::size_t bucket = static_cast<std::size_t>(Key(high - low) >> shift);
  std::int64_t above = 0;
  while (above + counts[bucket] < rank) above += counts[bucket--];
  if (shift == 0) return {Key(low + static_cast<Key>(bucket)), above};

  std::vector<Key> found(static_cast<std::size_t>(counts[bucket]) + 1);  // one to write past
  std::size_t size = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    found[size] = keys[i];
    size += (Key(keys[i] - low) >> shift) == bucket;
  }
  found.pop_back();
  const auto kth = found.begin() + (rank - above - 1);
  std::nth_element(found.begin(), kth, found.end(), std::greater<>());
  const Key key = *kth;
  above += std::count_if(found.begin(), kth, [key](Key other) { return other > key; });
  return {key, above};
}

template <class T>
TANDEM_INLINE std::int64_t append_loop(const T* scores, const std::uint64_t* between,
                                       std::int64_t n, std::int64_t first, KeyOf<T>* bits,
                                       std::int64_t* positions) {
  std::int64_t found = 0;
  for (std::int64_t base = 0; base < n; base += 64) {
    std::uint64_t packed = between[base / 64];
    const int count = std::popcount(packed);
    const std::uint64_t stop = std::uint64_t{1} << std::min<std::int64_t>(63, n - base - 1);
    int done = 0;
    do {  // in pairs, needed or not, so that few branches are mispredicted
      for (int j = 0; j < 2; ++j) {
        const std::int64_t i = base + __builtin_ctzll(packed | stop);
        bits[found + done + j] = std::bit_cast<KeyOf<T>>(scores[i]);
        positions[found + done + j] = first + i;
        packed &= packed - 1;
      }
      done += 2;
    } while (done < count);
    found += count;
  }
  return found;
}

}  // namespace

TANDEM_SIMD_CLONES std::int64_t split_plain(const float* scores, const std::uint8_t* eligible,
                                            std::int64_t n, const Sieve<std::uint32_t>& sieve,
                                            std::uint64_t* between, std::uint8_t* above) {
  return split_any(scores, eligible, n, sieve, between, above);
}
TANDEM_SIMD_CLONES std::int64_t split_plain(const float* scores, const std::uint8_t* eligible,
                                            std::int64_t n, const Sieve<std::uint16_t>& sieve,
                                            std::uint64_t* between, std::uint8_t* above) {
  return split_any(scores, eligible, n, sieve, between, above);
}
TANDEM_SIMD_CLONES std::int64_t split_plain(const double* scores, const std::uint8_t* eligible,
                                            std::int64_t n, const Sieve<std::uint64_t>& sieve,
                                            std::uint64_t* between, std::uint8_t* above) {
  return split_any(scores, eligible, n, sieve, between, above);
}
TANDEM_SIMD_CLONES std::int64_t split_plain(const double* scores, const std::uint8_t* eligible,
                                            std::int64_t n, const Sieve<std::uint32_t>& sieve,
                                            std::uint64_t* between, std::uint8_t* above) {
  return split_any(scores, eligible, n, sieve, between, above);
}

TANDEM_SIMD_CLONES void find_equal(const float* scores, const std::uint8_t* eligible,
                                   std::int64_t n, std::uint32_t flip, std::uint32_t key,
                                   std::uint8_t* equal) {
  equal_loop(scores, eligible, n, flip, key, equal);
}
TANDEM_SIMD_CLONES void find_equal(const double* scores, const std::uint8_t* eligible,
                                   std::int64_t n, std::uint64_t flip, std::uint64_t key,
                                   std::uint8_t* equal) {
  equal_loop(scores, eligible, n, flip, key, equal);
}

TANDEM_SIMD_CLONES void bits_to_keys(std::uint32_t* bits, std::int64_t n, std::uint32_t flip) {
  for (std::int64_t i = 0; i < n; ++i) bits[i] = key_of_bits<float>(bits[i], flip);
}
TANDEM_SIMD_CLONES void bits_to_keys(std::uint64_t* bits, std::int64_t n, std::uint64_t flip) {
  for (std::int64_t i = 0; i < n; ++i) bits[i] = key_of_bits<double>(bits[i], flip);
}

TANDEM_SIMD_CLONES std::int64_t count_ones(const std::uint8_t* flags, std::int64_t n) {
  std::int64_t total = 0, i = 0;
  while (n - i >= 8) {  // bytes of a word overflow after 255 additions
    const std::int64_t words = std::min<std::int64_t>((n - i) / 8, 248);
    std::uint64_t sum = 0;
    for (std::int64_t w = 0; w < words; ++w) {
      std::uint64_t eight;
      std::memcpy(&eight, flags + i + 8 * w, 8);
      sum += eight;
    }
    const std::uint64_t pairs =
        (sum & 0x00FF00FF00FF00FFull) + ((sum >> 8) & 0x00FF00FF00FF00FFull);
    total += static_cast<std::int64_t>((pairs * 0x0001000100010001ull) >> 48);
    i += 8 * words;
  }
  for (; i < n; ++i) total += flags[i];
  return total;
}

TANDEM_SIMD_CLONES std::int64_t count_nonzero(const std::uint8_t* flags, std::int64_t n) {
  std::int64_t total = 0;
  for (std::int64_t start = 0; start < n; start += kBlock) {
    std::uint8_t ones[kBlock];
    const std::int64_t size = std::min(kBlock, n - start);
    for (std::int64_t i = 0; i < size; ++i) ones[i] = flags[start + i] != 0;
    total += count_ones(ones, size);
  }
  return total;
}

Kth<std::uint32_t> kth_largest(const std::uint32_t* keys, std::int64_t n, std::int64_t rank) {
  return find_kth(keys, n, rank);
}
Kth<std::uint64_t> kth_largest(const std::uint64_t* keys, std::int64_t n, std::int64_t rank) {
  return find_kth(keys, n, rank);
}

TANDEM_SIMD_CLONES std::int64_t append(const float* scores, const std::uint64_t* between,
                                       std::int64_t n, std::int64_t first, std::uint32_t* bits,
                                       std::int64_t* positions) {
  return append_loop(scores, between, n, first, bits, positions);
}
TANDEM_SIMD_CLONES std::int64_t append(const double* scores, const std::uint64_t* between,
                                       std::int64_t n, std::int64_t first, std::uint64_t* bits,
                                       std::int64_t* positions) {
  return append_loop(scores, between, n, first, bits, positions);
}

}  // namespace tandem::selecting
