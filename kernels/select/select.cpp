// Radix selection on integer keys whose order is the wanted one (larger key = chosen earlier).
// One pass counts the keys by their leading bits; one gathers the keys of the bucket that holds the
// k-th, a few per cent of the data, in which nth_element finds the threshold; one marks. Integer
// keys, because a worker flushes subnormals to zero in floating-point arithmetic.
#include "kernels/select/select.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <vector>

#include "kernels/simd_clones.h"

namespace tandem {
namespace {

template <class T>
struct Layout;
template <>
struct Layout<float> {
  using Key = std::uint32_t;
  static constexpr Key kInfinity = 0x7F800000u;
  static constexpr int kBits = 32, kBucketBits = 12;  // sign, exponent, 3 bits of the mantissa
};
template <>
struct Layout<double> {
  using Key = std::uint64_t;
  static constexpr Key kInfinity = 0x7FF0000000000000ull;
  static constexpr int kBits = 64, kBucketBits = 14;  // sign, exponent, 2 bits of the mantissa
};

// flip: 0 for the largest, all ones for the smallest. NaN gets 0, which no number has.
template <class T>
inline __attribute__((always_inline)) typename Layout<T>::Key key_of(T score,
                                                                     typename Layout<T>::Key flip) {
  using Key = typename Layout<T>::Key;
  constexpr Key kSign = Key{1} << (Layout<T>::kBits - 1);
  const Key bits = std::bit_cast<Key>(score);
  const Key magnitude = bits & ~kSign;
  const Key unsigned_zero = magnitude == 0 ? Key{0} : bits;
  const Key negative = Key{0} - (unsigned_zero >> (Layout<T>::kBits - 1));
  const Key ordered = (unsigned_zero ^ (negative | kSign)) ^ flip;
  return magnitude > Layout<T>::kInfinity ? Key{0} : ordered;
}

template <class T>
inline __attribute__((always_inline)) void mark_loop(const T* __restrict__ scores,
                                                     const std::uint8_t* __restrict__ eligible,
                                                     std::int64_t n, typename Layout<T>::Key flip,
                                                     typename Layout<T>::Key lowest,
                                                     std::uint8_t* __restrict__ chosen) {
  if (eligible == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) chosen[i] = key_of(scores[i], flip) >= lowest;
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      chosen[i] = (key_of(scores[i], flip) >= lowest) & (eligible[i] != 0);
    }
  }
}

TANDEM_SIMD_CLONES void mark(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                             std::uint32_t flip, std::uint32_t lowest, std::uint8_t* chosen) {
  mark_loop(scores, eligible, n, flip, lowest, chosen);
}
TANDEM_SIMD_CLONES void mark(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                             std::uint64_t flip, std::uint64_t lowest, std::uint8_t* chosen) {
  mark_loop(scores, eligible, n, flip, lowest, chosen);
}

template <class Key>
struct Threshold {
  Key lowest;         // keys above it are chosen
  std::int64_t ties;  // how many equal to it are chosen
  bool all_ties;      // and that is every one of them
};

template <class T>
std::vector<std::int64_t> count_buckets(const T* scores, const std::uint8_t* eligible,
                                        std::int64_t n, typename Layout<T>::Key flip) {
  constexpr int kShift = Layout<T>::kBits - Layout<T>::kBucketBits;
  constexpr std::size_t kBuckets = std::size_t{1} << Layout<T>::kBucketBits;
  std::vector<std::int64_t> counts(kBuckets + 1, 0);  // the last one: not eligible
  for (std::int64_t i = 0; i < n; ++i) {
    const std::size_t bucket = key_of(scores[i], flip) >> kShift;
    ++counts[eligible == nullptr || eligible[i] != 0 ? bucket : kBuckets];
  }
  return counts;
}

// k is in [1, eligible positions].
template <class T>
Threshold<typename Layout<T>::Key> find_threshold(const T* scores, const std::uint8_t* eligible,
                                                  std::int64_t n, std::int64_t k,
                                                  typename Layout<T>::Key flip,
                                                  const std::vector<std::int64_t>& counts) {
  using Key = typename Layout<T>::Key;
  constexpr int kShift = Layout<T>::kBits - Layout<T>::kBucketBits;
  std::size_t bucket = counts.size() - 2;
  std::int64_t needed = k;
  while (counts[bucket] < needed) needed -= counts[bucket--];
  if (counts[bucket] == needed) return {static_cast<Key>(bucket) << kShift, needed, true};

  std::vector<Key> keys(static_cast<std::size_t>(counts[bucket]) + 1);  // one to write past
  std::size_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const Key key = key_of(scores[i], flip);
    keys[found] = key;
    found += ((key >> kShift) == bucket) & (eligible == nullptr || eligible[i] != 0);
  }
  keys.pop_back();
  const auto kth = keys.begin() + (needed - 1);
  std::nth_element(keys.begin(), kth, keys.end(), std::greater<>());
  const Key lowest = *kth;
  const auto above = std::count_if(keys.begin(), keys.end(), [&](Key x) { return x > lowest; });
  const auto equal = std::count(keys.begin(), keys.end(), lowest);
  return {lowest, needed - above, needed - above == equal};
}

// Ties are taken in index order: block by block, until they are used up.
template <class T>
void mark_with_ties(const T* scores, const std::uint8_t* eligible, std::int64_t n,
                    typename Layout<T>::Key flip, Threshold<typename Layout<T>::Key> threshold,
                    std::uint8_t* chosen) {
  std::int64_t i = 0;
  for (; i < n && threshold.ties > 0; ++i) {
    const auto key = key_of(scores[i], flip);
    const bool tie = key == threshold.lowest && (eligible == nullptr || eligible[i] != 0);
    const bool above = key > threshold.lowest && (eligible == nullptr || eligible[i] != 0);
    threshold.ties -= tie;
    chosen[i] = tie || above;
  }
  // The key of infinity is below the largest integer, so that lowest + 1 does not wrap.
  mark(scores + i, eligible == nullptr ? nullptr : eligible + i, n - i, flip, threshold.lowest + 1,
       chosen + i);
}

template <class T>
int select(const T* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
           bool largest, std::uint8_t* chosen) {
  if (n < 0 || k < 0 || (n > 0 && (scores == nullptr || chosen == nullptr))) {
    return kSelectBadArguments;
  }
  if (k > n) return kSelectTooFew;
  if (k == 0) {
    std::fill(chosen, chosen + n, std::uint8_t{0});
    return kSelectDone;
  }
  using Key = typename Layout<T>::Key;
  const Key flip = largest ? Key{0} : ~Key{0};
  const auto counts = count_buckets(scores, eligible, n, flip);
  const std::int64_t candidates = n - counts.back();
  if (k > candidates) return kSelectTooFew;
  if (k == candidates) {
    mark(scores, eligible, n, flip, Key{0}, chosen);
    return kSelectDone;
  }
  const auto threshold = find_threshold(scores, eligible, n, k, flip, counts);
  if (threshold.all_ties) {
    mark(scores, eligible, n, flip, threshold.lowest, chosen);
  } else {
    mark_with_ties(scores, eligible, n, flip, threshold, chosen);
  }
  return kSelectDone;
}

}  // namespace

int select_top(const float* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen) {
  return select(scores, eligible, n, k, largest, chosen);
}
int select_top(const double* scores, const std::uint8_t* eligible, std::int64_t n, std::int64_t k,
               bool largest, std::uint8_t* chosen) {
  return select(scores, eligible, n, k, largest, chosen);
}

}  // namespace tandem
