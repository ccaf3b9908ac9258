// The k-th of a few keys, and the loops of sieve.h that see a part of the scores.
#include "kernels/select/sieve.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/simd_clones.h"

#define TANDEM_INLINE inline __attribute__((always_inline))

namespace tandem::selecting {
namespace {

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
TANDEM_INLINE std::int64_t within_loop(const Key* keys, std::int64_t n, Key lowest, Key highest) {
  Key count = 0;
  for (std::int64_t i = 0; i < n; ++i) count += (keys[i] >= lowest) & (keys[i] <= highest);
  return static_cast<std::int64_t>(count);
}

template <class Key>
TANDEM_INLINE double deviation_loop(const Key* keys, const std::int64_t* ends,
                                    std::int64_t stretches, Key key, double share) {
  constexpr std::int64_t kLine = 64 / sizeof(Key);
  double squares = 0;
  for (std::int64_t s = 0, i = 0; s < stretches; i = ends[s++]) {
    const std::int64_t size = ends[s] - i;
    Key above = 0;
    if (size == kLine) {
      for (std::int64_t j = 0; j < kLine; ++j) above += keys[i + j] >= key;
    } else {
      for (std::int64_t j = 0; j < size; ++j) above += keys[i + j] >= key;
    }
    const double off = static_cast<double>(above) - share * static_cast<double>(size);
    squares += off * off;
  }
  return std::sqrt(squares);
}

}  // namespace

template <class Key>
Ranks<Key>::Ranks(const Key* keys, std::int64_t n) : keys_(keys), n_(n) {
  if (n == 0) return;
  range_of(keys, n, &low_, &high_);
  shift_ = std::max(0, static_cast<int>(std::bit_width(Key(high_ - low_))) - kBucketBits);
  const Key low = low_;
  const int shift = shift_;
  for (std::int64_t i = 0; i < n; ++i) ++counts_[Key(keys[i] - low) >> shift];
}

template <class Key>
Kth<std::size_t> Ranks<Key>::bucket_of(std::int64_t rank) const {
  std::size_t bucket = static_cast<std::size_t>(Key(high_ - low_) >> shift_);
  std::int64_t above = 0;
  while (above + counts_[bucket] < rank) above += counts_[bucket--];
  return {bucket, above};
}

template <class Key>
Key Ranks<Key>::rough(std::int64_t rank) const {
  return Key(low_ + (static_cast<Key>(bucket_of(rank).key) << shift_));
}

template <class Key>
std::vector<Key> Ranks<Key>::gather(std::size_t first, std::size_t last) const {
  std::int64_t size = 0;
  for (std::size_t b = first; b <= last; ++b) size += counts_[b];
  std::vector<Key> found(static_cast<std::size_t>(size) + 1);  // one to write past
  const std::size_t span = last - first;
  const Key low = low_;
  const int shift = shift_;
  Key* to = found.data();
  for (std::int64_t i = 0; i < n_; ++i) {
    *to = keys_[i];
    to += (Key(keys_[i] - low) >> shift) - first <= span;
  }
  found.pop_back();
  return found;
}

template <class Key>
Kth<Key> Ranks<Key>::exact(std::int64_t rank) const {
  auto [bucket, above] = bucket_of(rank);
  if (shift_ == 0) return {Key(low_ + static_cast<Key>(bucket)), above};
  auto found = gather(bucket, bucket);
  const auto kth = found.begin() + (rank - above - 1);
  std::nth_element(found.begin(), kth, found.end(), std::greater<>());
  const Key key = *kth;
  above += std::count_if(found.begin(), kth, [key](Key other) { return other > key; });
  return {key, above};
}

template <class Key>
typename Ranks<Key>::Two Ranks<Key>::exact(std::int64_t low_rank, std::int64_t high_rank) const {
  const auto low = bucket_of(low_rank), high = bucket_of(high_rank);
  auto found = gather(low.key, high.key);
  const auto of_low = found.begin() + (low_rank - high.above - 1);
  const auto of_high = found.begin() + (high_rank - high.above - 1);
  std::nth_element(found.begin(), of_low, found.end(), std::greater<>());
  const Key smaller = *of_low;
  std::nth_element(found.begin(), of_high, of_low + 1, std::greater<>());
  return {smaller, *of_high};
}

template class Ranks<std::uint32_t>;
template class Ranks<std::uint64_t>;

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

TANDEM_SIMD_CLONES std::int64_t count_within(const std::uint32_t* keys, std::int64_t n,
                                             std::uint32_t lowest, std::uint32_t highest) {
  return within_loop(keys, n, lowest, highest);
}
TANDEM_SIMD_CLONES std::int64_t count_within(const std::uint64_t* keys, std::int64_t n,
                                             std::uint64_t lowest, std::uint64_t highest) {
  return within_loop(keys, n, lowest, highest);
}

TANDEM_SIMD_CLONES double rank_deviation(const std::uint32_t* keys, const std::int64_t* ends,
                                         std::int64_t stretches, std::uint32_t key, double share) {
  return deviation_loop(keys, ends, stretches, key, share);
}
TANDEM_SIMD_CLONES double rank_deviation(const std::uint64_t* keys, const std::int64_t* ends,
                                         std::int64_t stretches, std::uint64_t key, double share) {
  return deviation_loop(keys, ends, stretches, key, share);
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
  return Ranks(keys, n).exact(rank);
}
Kth<std::uint64_t> kth_largest(const std::uint64_t* keys, std::int64_t n, std::int64_t rank) {
  return Ranks(keys, n).exact(rank);
}

}  // namespace tandem::selecting
