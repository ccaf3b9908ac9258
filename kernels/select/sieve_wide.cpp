// The split of sieve.h for float in AVX-512, where a comparison gives the bits directly.
#include "kernels/select/sieve.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define TANDEM_WIDE __attribute__((target("avx512bw,popcnt")))
#endif

namespace tandem::selecting {

#ifdef TANDEM_WIDE
namespace {

struct Masks {
  std::uint64_t between, either;  // between, and between or above
};

TANDEM_WIDE inline __m512i load(const float* scores) { return _mm512_loadu_si512(scores); }

// 64 scores in four vectors of whole keys.
TANDEM_WIDE inline Masks masks_of(const float* scores, const Sieve<std::uint32_t>& sieve) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const __m512i origin = _mm512_set1_epi32(static_cast<int>(sieve.origin));
  const __m512i between_below = _mm512_set1_epi32(sieve.between_below);
  const __m512i above_below = _mm512_set1_epi32(sieve.above_below);
  Masks masks{0, 0};
  for (int part = 0; part < 4; ++part) {
    const __m512i bits = load(scores + 16 * part);
    const __m512i negative = _mm512_maskz_srai_epi32(0xFFFF, bits, 31);
    const __m512i ordered = _mm512_xor_si512(bits, _mm512_and_si512(negative, magnitude));
    const __m512i place =
        sieve.largest ? _mm512_sub_epi32(ordered, origin) : _mm512_sub_epi32(origin, ordered);
    const std::uint64_t between = _mm512_cmplt_epi32_mask(place, between_below);
    const std::uint64_t either = _mm512_cmplt_epi32_mask(place, above_below);
    masks.between |= between << (16 * part);
    masks.either |= either << (16 * part);
  }
  return masks;
}

// 64 scores in two vectors of upper halves.
TANDEM_WIDE inline Masks masks_of(const float* scores, const Sieve<std::uint16_t>& sieve) {
  alignas(64) static constexpr std::uint16_t kUpper[32] = {
      1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
      33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i upper = _mm512_load_si512(kUpper);
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  const __m512i origin = _mm512_set1_epi16(static_cast<short>(sieve.origin));
  const __m512i between_below = _mm512_set1_epi16(sieve.between_below);
  const __m512i above_below = _mm512_set1_epi16(sieve.above_below);
  const __m512i top = _mm512_set1_epi16(sieve.top);
  Masks masks{0, 0};
  for (int part = 0; part < 2; ++part) {
    const float* const at = scores + 32 * part;
    const __m512i bits = _mm512_permutex2var_epi16(load(at), upper, load(at + 16));
    const __m512i negative = _mm512_srai_epi16(bits, 15);
    const __m512i ordered = _mm512_xor_si512(bits, _mm512_and_si512(negative, magnitude));
    const __m512i place =
        sieve.largest ? _mm512_sub_epi16(ordered, origin) : _mm512_sub_epi16(origin, ordered);
    const std::uint64_t between =
        _mm512_cmplt_epi16_mask(place, between_below) | _mm512_cmpeq_epi16_mask(place, top);
    const std::uint64_t either = _mm512_cmplt_epi16_mask(place, above_below);
    masks.between |= between << (32 * part);
    masks.either |= either << (32 * part);
  }
  return masks;
}

template <class Unit>
TANDEM_WIDE std::int64_t split_wide(const float* scores, const std::uint8_t* eligible,
                                    std::int64_t n, const Sieve<Unit>& sieve,
                                    std::uint64_t* between, std::uint8_t* above) {
  const std::int64_t whole = n / 64 * 64;
  const bool streamed = sieve.past_caches && reinterpret_cast<std::uintptr_t>(above) % 64 == 0;
  const Sieve<Unit> own = sieve;  // which the flags that are written cannot be taken to change
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < whole; i += 64) {
    const Masks masks = masks_of(scores + i, own);
    std::uint64_t allowed = ~std::uint64_t{0};
    if (eligible != nullptr) {
      const __m512i chosen_from = _mm512_loadu_si512(eligible + i);
      allowed = _mm512_test_epi8_mask(chosen_from, chosen_from);
    }
    between[i / 64] = masks.between & allowed;
    if (above == nullptr) continue;
    const std::uint64_t is_above = masks.either & ~masks.between & allowed;
    const __m512i flags = _mm512_maskz_set1_epi8(is_above, 1);
    if (streamed) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(above + i), flags);
    } else {
      _mm512_storeu_si512(above + i, flags);
    }
    count += _mm_popcnt_u64(is_above);
  }
  if (streamed) _mm_sfence();
  if (whole == n) return count;
  return count + split_plain(scores + whole, eligible ? eligible + whole : nullptr, n - whole,
                             sieve, between + whole / 64, above ? above + whole : nullptr);
}

}  // namespace
#endif

namespace {

template <class Unit>
std::int64_t split_float(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                         const Sieve<Unit>& sieve, std::uint64_t* between, std::uint8_t* above) {
#ifdef TANDEM_WIDE
  if (__builtin_cpu_supports("avx512bw")) {
    return split_wide(scores, eligible, n, sieve, between, above);
  }
#endif
  return split_plain(scores, eligible, n, sieve, between, above);
}

}  // namespace

std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between, std::uint8_t* above) {
  return split_float(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint16_t>& sieve, std::uint64_t* between, std::uint8_t* above) {
  return split_float(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint64_t>& sieve, std::uint64_t* between, std::uint8_t* above) {
  return split_plain(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between, std::uint8_t* above) {
  return split_plain(scores, eligible, n, sieve, between, above);
}

}  // namespace tandem::selecting
