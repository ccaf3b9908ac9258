// The loops of sieve.h over all scores in Highway vectors, one version per instruction set, chosen
// at run time. Without vectors a pass makes a byte per score, which the compiler vectorises.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/select/sieve.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/select/sieve_vectors.cpp"
// As in kernels/spmm.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tandem::selecting {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Eight bytes of 0 or 1 become eight bits.
HWY_INLINE std::uint64_t pack_eight(const std::uint8_t* flags) {
  std::uint64_t bytes;
  std::memcpy(&bytes, flags, 8);
  return (bytes * 0x0102040810204080ull) >> 56;
}

#if HWY_TARGET == HWY_SCALAR

template <bool kLargest, class T, class Unit>
HWY_INLINE void split_loop(const T* HWY_RESTRICT scores, std::int64_t n, const Sieve<Unit>& sieve,
                           std::uint8_t* HWY_RESTRICT between, std::uint8_t* HWY_RESTRICT above) {
  using Signed = std::make_signed_t<Unit>;
  constexpr int kUnitBits = 8 * sizeof(Unit), kDropped = Layout<T>::kBits - kUnitBits;
  const Sieve<Unit> s = sieve;
  Signed kinds[kBlock];
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<Signed>(std::bit_cast<KeyOf<T>>(scores[i]) >> kDropped);
    const auto negative = static_cast<Signed>(bits >> (kUnitBits - 1));
    const auto ordered = static_cast<Unit>(bits ^ (negative & std::numeric_limits<Signed>::max()));
    const auto place = static_cast<Signed>(kLargest ? ordered - s.origin : s.origin - ordered);
    const bool is_between = (place < s.between_below) | (kDropped > 0 && place == s.top);
    kinds[i] = static_cast<Signed>((place < s.above_below ? 1 : 0) + (is_between ? 2 : 0));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto kind = static_cast<std::uint8_t>(kinds[i]);
    between[i] = kind >> 1;
    above[i] = kind == 1;
  }
}

HWY_INLINE void pack(std::uint8_t* flags, std::int64_t n, std::uint64_t* words) {
  std::memset(flags + n, 0, static_cast<std::size_t>((n + 63) / 64 * 64 - n));
  for (std::int64_t i = 0; i < n; i += 64) {
    std::uint64_t word = 0;
    for (int j = 0; j < 8; ++j) word |= pack_eight(flags + i + 8 * j) << (8 * j);
    words[i / 64] = word;
  }
}

template <class T, class Unit>
HWY_INLINE void split_whole(const T* scores, std::int64_t n, const Sieve<Unit>& sieve,
                            std::uint64_t* between, std::uint64_t* above) {
  std::uint8_t is_between[kBlock], is_above[kBlock];
  sieve.largest ? split_loop<true>(scores, n, sieve, is_between, is_above)
                : split_loop<false>(scores, n, sieve, is_between, is_above);
  pack(is_between, n, between);
  pack(is_above, n, above);
}

#else

// The units of as many scores as there are lanes, in order.
template <class D, class T>
HWY_INLINE hn::Vec<D> load_units(D d, const T* scores) {
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(T)) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<T, D>(), scores));
  } else {
    const hn::Repartition<T, D> whole;
    const auto lower = hn::BitCast(d, hn::LoadU(whole, scores));
    const auto upper = hn::BitCast(d, hn::LoadU(whole, scores + hn::Lanes(whole)));
    return hn::ConcatOdd(d, upper, lower);
  }
}

template <class D>
HWY_INLINE void store_bits(D d, const hn::Mask<D>* masks, std::uint8_t* bits) {
  if constexpr (hn::MaxLanes(D()) >= 8) {
    hn::StoreMaskBits(d, masks[0], bits);
  } else {
    std::uint8_t part[8] = {}, all = 0;
    for (int i = 0; i < static_cast<int>(8 / hn::MaxLanes(D())); ++i) {
      hn::StoreMaskBits(d, masks[i], part);
      all = static_cast<std::uint8_t>(all | part[0] << (i * static_cast<int>(hn::MaxLanes(D()))));
    }
    *bits = all;
  }
}

// n is a multiple of 64.
template <bool kLargest, class T, class Unit>
HWY_INLINE void split_loop(const T* scores, std::int64_t n, const Sieve<Unit>& sieve,
                           std::uint64_t* between, std::uint64_t* above) {
  using Signed = std::make_signed_t<Unit>;
  const hn::ScalableTag<Signed> d;
  constexpr std::int64_t kLanes = hn::MaxLanes(d), kStep = kLanes < 8 ? 8 : kLanes;
  constexpr int kVectors = kStep / kLanes;
  const auto magnitude = hn::Set(d, std::numeric_limits<Signed>::max());
  const auto origin = hn::Set(d, static_cast<Signed>(sieve.origin));
  const auto between_below = hn::Set(d, sieve.between_below);
  const auto above_below = hn::Set(d, sieve.above_below);
  const auto top = hn::Set(d, sieve.top);
  auto* const between_bits = reinterpret_cast<std::uint8_t*>(between);
  auto* const above_bits = reinterpret_cast<std::uint8_t*>(above);
  for (std::int64_t i = 0; i < n; i += kStep) {
    hn::Mask<decltype(d)> is_between[kVectors], is_above[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const auto bits = load_units(d, scores + i + v * kLanes);
      const auto ordered = hn::Xor(bits, hn::And(hn::BroadcastSignBit(bits), magnitude));
      const auto place = kLargest ? hn::Sub(ordered, origin) : hn::Sub(origin, ordered);
      is_between[v] = hn::Lt(place, between_below);
      if (sizeof(Unit) < sizeof(T)) is_between[v] = hn::Or(is_between[v], hn::Eq(place, top));
      is_above[v] = hn::AndNot(is_between[v], hn::Lt(place, above_below));
    }
    store_bits(d, is_between, between_bits + i / 8);
    store_bits(d, is_above, above_bits + i / 8);
  }
}

template <class T, class Unit>
HWY_INLINE void split_whole(const T* scores, std::int64_t n, const Sieve<Unit>& sieve,
                            std::uint64_t* between, std::uint64_t* above) {
  const std::int64_t whole = n / 64 * 64;
  const auto split_some = [&](const T* from, std::int64_t size, std::int64_t at) {
    sieve.largest ? split_loop<true>(from, size, sieve, between + at, above + at)
                  : split_loop<false>(from, size, sieve, between + at, above + at);
  };
  split_some(scores, whole, 0);
  if (whole == n) return;
  T rest[64] = {};
  std::copy(scores + whole, scores + n, rest);
  split_some(rest, 64, whole / 64);
  const std::uint64_t inside = (std::uint64_t{1} << (n - whole)) - 1;
  between[whole / 64] &= inside;
  above[whole / 64] &= inside;
}

#endif

// Bit i: whether byte i is not zero.
HWY_INLINE std::uint64_t word_of(const std::uint8_t* bytes) {
  std::uint64_t word = 0;
#if HWY_TARGET == HWY_SCALAR
  std::uint8_t ones[64];
  for (int i = 0; i < 64; ++i) ones[i] = bytes[i] != 0;
  for (int j = 0; j < 8; ++j) word |= pack_eight(ones + 8 * j) << (8 * j);
#else
  const hn::ScalableTag<std::uint8_t> d;
  for (std::size_t i = 0; i < 64; i += hn::MaxLanes(d)) {
    const auto ones = hn::Ne(hn::LoadU(d, bytes + i), hn::Zero(d));
    hn::StoreMaskBits(d, ones, reinterpret_cast<std::uint8_t*>(&word) + i / 8);
  }
#endif
  return word;
}

template <class T, class Unit>
std::int64_t split_block(const T* scores, const std::uint8_t* eligible, std::int64_t n,
                         const Sieve<Unit>& sieve, std::uint64_t* between, std::uint64_t* above) {
  split_whole(scores, n, sieve, between, above);
  const std::int64_t words = (n + 63) / 64;
  for (std::int64_t w = 0; w < words && eligible != nullptr; ++w) {
    std::uint8_t rest[64] = {};
    const bool cut = 64 * (w + 1) > n;
    if (cut) std::copy(eligible + 64 * w, eligible + n, rest);
    const std::uint64_t allowed = word_of(cut ? rest : eligible + 64 * w);
    between[w] &= allowed;
    above[w] &= allowed;
  }
  std::int64_t count = 0;
  for (std::int64_t w = 0; w < words; ++w) count += hwy::PopCount(above[w]);
  return count;
}

std::int64_t split_float(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                         const Sieve<std::uint32_t>& sieve, std::uint64_t* between,
                         std::uint64_t* above) {
  return split_block(scores, eligible, n, sieve, between, above);
}
std::int64_t split_float_half(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                              const Sieve<std::uint16_t>& sieve, std::uint64_t* between,
                              std::uint64_t* above) {
  return split_block(scores, eligible, n, sieve, between, above);
}
std::int64_t split_double(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                          const Sieve<std::uint64_t>& sieve, std::uint64_t* between,
                          std::uint64_t* above) {
  return split_block(scores, eligible, n, sieve, between, above);
}
std::int64_t split_double_half(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                               const Sieve<std::uint32_t>& sieve, std::uint64_t* between,
                               std::uint64_t* above) {
  return split_block(scores, eligible, n, sieve, between, above);
}

#if HWY_TARGET != HWY_SCALAR
// Places of the bits that are set, one to a lane. Highway's Compress has tables, too, which the
// compiler copies at each use.
template <class D>
HWY_INLINE hn::Vec<D> load_places(D d, unsigned bits) {
  const hn::Rebind<std::uint32_t, D> narrow;
  const auto places = hn::LoadU(narrow, kPlaces.at[bits]);
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    return places;
  } else {
    return hn::PromoteTo(d, places);
  }
}
#endif

// Copies those of 64 values whose bit is set, in order, and writes up to kAppendSlack values past
// them.
template <class V>
HWY_INLINE void compress_word(const V* from, std::uint64_t word, V* to) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 64; ++i) {
    *to = from[i];
    to += word >> i & 1;
  }
#else
  const hn::CappedTag<V, 8> d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(d));
  for (int i = 0; i < 64; i += kLanes, word >>= kLanes) {
    const auto bits = static_cast<unsigned>(word & ((1u << kLanes) - 1));
    const auto order = hn::IndicesFromVec(d, load_places(d, bits));
    hn::StoreU(hn::TableLookupLanes(hn::LoadU(d, from + i), order), d, to);
    to += std::popcount(bits);
  }
#endif
}
HWY_INLINE void compress_places(std::int64_t first, std::uint64_t word, std::int64_t* to) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 64; ++i) {
    *to = first + i;
    to += word >> i & 1;
  }
#else
  const hn::CappedTag<std::uint64_t, 8> d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(d));
  for (int i = 0; i < 64; i += kLanes, word >>= kLanes) {
    const auto bits = static_cast<unsigned>(word & ((1u << kLanes) - 1));
    const auto start = hn::Set(d, static_cast<std::uint64_t>(first + i));
    hn::StoreU(hn::Add(start, load_places(d, bits)), d, reinterpret_cast<std::uint64_t*>(to));
    to += std::popcount(bits);
  }
#endif
}

// A few of 64 are found one by one, in pairs, needed or not, so that few branches are mispredicted.
template <class T>
std::int64_t append_any(const T* scores, const std::uint64_t* between, std::int64_t n,
                        std::int64_t first, KeyOf<T>* bits, std::int64_t* positions) {
  constexpr int kMany = 10;
  std::int64_t found = 0;
  for (std::int64_t base = 0; base < n; base += 64) {
    std::uint64_t packed = between[base / 64];
    const int count = std::popcount(packed);
    if (count > kMany && base + 64 <= n) {
      compress_word(reinterpret_cast<const KeyOf<T>*>(scores + base), packed, bits + found);
      compress_places(first + base, packed, positions + found);
    } else {
      const std::uint64_t stop = std::uint64_t{1} << std::min<std::int64_t>(63, n - base - 1);
      int done = 0;
      do {
        for (int j = 0; j < 2; ++j) {
          const std::int64_t i = base + std::countr_zero(packed | stop);
          bits[found + done + j] = std::bit_cast<KeyOf<T>>(scores[i]);
          positions[found + done + j] = first + i;
          packed &= packed - 1;
        }
        done += 2;
      } while (done < count);
    }
    found += count;
  }
  return found;
}

template <class V>
std::int64_t compact_any(const V* from, const std::uint64_t* words, std::int64_t n, V* to) {
  std::int64_t kept = 0, base = 0;
  for (; base + 64 <= n; base += 64) {
    compress_word(from + base, words[base / 64], to + kept);
    kept += std::popcount(words[base / 64]);
  }
  for (; base < n; ++base) {
    to[kept] = from[base];
    kept += words[base / 64] >> (base % 64) & 1;
  }
  return kept;
}
std::int64_t compact_32(const std::uint32_t* from, const std::uint64_t* words, std::int64_t n,
                        std::uint32_t* to) {
  return compact_any(from, words, n, to);
}
std::int64_t compact_64(const std::uint64_t* from, const std::uint64_t* words, std::int64_t n,
                        std::uint64_t* to) {
  return compact_any(from, words, n, to);
}
std::int64_t append_float(const float* scores, const std::uint64_t* between, std::int64_t n,
                          std::int64_t first, std::uint32_t* bits, std::int64_t* positions) {
  return append_any(scores, between, n, first, bits, positions);
}
std::int64_t append_double(const double* scores, const std::uint64_t* between, std::int64_t n,
                           std::int64_t first, std::uint64_t* bits, std::int64_t* positions) {
  return append_any(scores, between, n, first, bits, positions);
}

// 64 flags; streamed: around the caches, `flags` at a multiple of 64 bytes.
HWY_INLINE void expand_word(std::uint64_t word, bool streamed, std::uint8_t* flags) {
#if HWY_TARGET == HWY_SCALAR
  (void)streamed;
  for (int i = 0; i < 64; i += 8) {
    const std::uint64_t eight = (word >> i & 0xFF) * 0x0101010101010101ull & 0x8040201008040201ull;
    const std::uint64_t ones = (eight + 0x007F7F7F7F7F7F7Full) >> 7 & 0x0101010101010101ull;
    std::memcpy(flags + i, &ones, 8);
  }
#else
  const hn::ScalableTag<std::uint8_t> d;
  std::uint8_t bits[8];
  std::memcpy(bits, &word, 8);
  for (std::size_t i = 0; i < 64; i += hn::MaxLanes(d)) {
    const auto ones = hn::IfThenElseZero(hn::LoadMaskBits(d, bits + i / 8), hn::Set(d, 1));
    streamed ? hn::Stream(ones, d, flags + i) : hn::StoreU(ones, d, flags + i);
  }
#endif
}

void expand_words(const std::uint64_t* words, std::int64_t n, bool past_caches,
                  std::uint8_t* flags) {
  const auto off = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(flags) % 64);
  const std::int64_t head = std::min<std::int64_t>(off == 0 ? 0 : 64 - off, n);
  for (std::int64_t i = 0; i < head; ++i) flags[i] = words[0] >> i & 1;
  const int shift = static_cast<int>(head);
  std::int64_t i = head;
  for (; i + 64 <= n; i += 64) {
    std::uint64_t word = words[i / 64] >> shift;
    if (shift != 0) word |= words[i / 64 + 1] << (64 - shift);
    expand_word(word, past_caches, flags + i);
  }
  hwy::FlushStream();
  for (; i < n; ++i) flags[i] = words[i / 64] >> (i % 64) & 1;
}

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::selecting
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::selecting {
namespace {
HWY_EXPORT(split_float);
HWY_EXPORT(split_float_half);
HWY_EXPORT(split_double);
HWY_EXPORT(split_double_half);
HWY_EXPORT(append_float);
HWY_EXPORT(append_double);
HWY_EXPORT(expand_words);
HWY_EXPORT(compact_32);
HWY_EXPORT(compact_64);
}  // namespace

std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between,
                   std::uint64_t* above) {
  return HWY_DYNAMIC_DISPATCH(split_float)(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint16_t>& sieve, std::uint64_t* between,
                   std::uint64_t* above) {
  return HWY_DYNAMIC_DISPATCH(split_float_half)(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint64_t>& sieve, std::uint64_t* between,
                   std::uint64_t* above) {
  return HWY_DYNAMIC_DISPATCH(split_double)(scores, eligible, n, sieve, between, above);
}
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between,
                   std::uint64_t* above) {
  return HWY_DYNAMIC_DISPATCH(split_double_half)(scores, eligible, n, sieve, between, above);
}
std::int64_t append(const float* scores, const std::uint64_t* between, std::int64_t n,
                    std::int64_t first, std::uint32_t* bits, std::int64_t* positions) {
  return HWY_DYNAMIC_DISPATCH(append_float)(scores, between, n, first, bits, positions);
}
std::int64_t append(const double* scores, const std::uint64_t* between, std::int64_t n,
                    std::int64_t first, std::uint64_t* bits, std::int64_t* positions) {
  return HWY_DYNAMIC_DISPATCH(append_double)(scores, between, n, first, bits, positions);
}
std::int64_t compact(const std::uint32_t* from, const std::uint64_t* words, std::int64_t n,
                     std::uint32_t* to) {
  return HWY_DYNAMIC_DISPATCH(compact_32)(from, words, n, to);
}
std::int64_t compact(const std::uint64_t* from, const std::uint64_t* words, std::int64_t n,
                     std::uint64_t* to) {
  return HWY_DYNAMIC_DISPATCH(compact_64)(from, words, n, to);
}
void expand(const std::uint64_t* words, std::int64_t n, bool past_caches, std::uint8_t* flags) {
  HWY_DYNAMIC_DISPATCH(expand_words)(words, n, past_caches, flags);
}

}  // namespace tandem::selecting
#endif  // HWY_ONCE
