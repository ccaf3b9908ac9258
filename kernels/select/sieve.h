// One pass over scores that splits them at two keys, and what is done with the few in between.
// The pass compares s - origin in integers modulo 2^bits, where s is the score's bits in the order
// of numbers: NaN, above +infinity and below -infinity, then lies beyond what is above on either
// side, and two comparisons tell the kinds apart. It may look at the upper halves of the scores
// alone, which takes fewer instructions. Internal to kernels/select.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/select/keys.h"

namespace tandem::selecting {

inline constexpr std::int64_t kBlock = 2048;  // scores whose flags are kept in the first cache

template <class Unit>  // a key, or the upper half of one
struct Sieve {
  using Signed = std::make_signed_t<Unit>;
  bool largest;
  Unit origin;
  Signed between_below, above_below;  // bounds of the difference, which a bias makes signed
  Signed top;                         // the place of infinity
};

// Between: first <= unit < end, units of numbers; above: end <= unit. NaN is neither, but in halves
// some NaN share the unit of infinity, which then is between wherever first and end are.
template <class Unit>
Sieve<Unit> make_sieve(Unit first, Unit end, Unit infinity, bool largest) {
  using Signed = std::make_signed_t<Unit>;
  constexpr Unit kBias = static_cast<Unit>(Unit{1} << (8 * sizeof(Unit) - 1));
  const auto place = [=](Unit unit) {
    return static_cast<Signed>(static_cast<Unit>(unit - first) ^ kBias);
  };
  return {largest, largest ? first : static_cast<Unit>(~first), place(std::max(first, end)),
          place(static_cast<Unit>(infinity + 1)), place(infinity)};
}

// Between: low < key < high; above: high <= key. low < high.
template <class T>
Sieve<KeyOf<T>> sieve_of_keys(KeyOf<T> low, KeyOf<T> high, bool largest) {
  using Key = KeyOf<T>;
  // -0 lies beside +0 in this order, in the other half of the range: both go to the same side.
  Key first = std::max(Key(low + 1), kLowestNumber<T>);
  if (low == kSignBit<T> - 1) first = kSignBit<T> + 1;
  const Key end = high == kSignBit<T> ? Key(high - 1) : high;
  return make_sieve<Key>(first, end, kHighestNumber<T>, largest);
}

// The upper halves that `between` covers: from that of low to that of high, both included.
template <class T>
struct Halves {
  using Half = typename Layout<T>::Half;
  Half first, last;

  static constexpr Half half_of(KeyOf<T> key) {
    return static_cast<Half>(key >> (Layout<T>::kBits / 2));
  }
  Halves(KeyOf<T> low, KeyOf<T> high)
      : first(half_of(std::max(low, kLowestNumber<T>))),
        last(half_of(std::min(high, kHighestNumber<T>))) {
    constexpr Half kUpper = half_of(kSignBit<T>);  // one of the zeros; the other is just below
    if (first == kUpper) first = kUpper - 1;
    if (last == kUpper - 1) last = kUpper;
  }
  KeyOf<T> lowest() const { return static_cast<KeyOf<T>>(first) << (Layout<T>::kBits / 2); }
  KeyOf<T> highest() const {
    return (static_cast<KeyOf<T>>(last) << (Layout<T>::kBits / 2)) +
           ((KeyOf<T>{1} << (Layout<T>::kBits / 2)) - 1);
  }
  Sieve<Half> sieve(bool largest) const {
    return make_sieve<Half>(first, static_cast<Half>(last + 1), half_of(kHighestNumber<T>),
                            largest);
  }
};

// For n <= kBlock scores: one bit each, in kBlock / 64 words, of what is between and what is above;
// returns the number above. What is not eligible is neither. eligible may be null. Bits past n are
// 0.
std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between, std::uint64_t* above);
std::int64_t split(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint16_t>& sieve, std::uint64_t* between, std::uint64_t* above);
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint64_t>& sieve, std::uint64_t* between, std::uint64_t* above);
std::int64_t split(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                   const Sieve<std::uint32_t>& sieve, std::uint64_t* between, std::uint64_t* above);

// n bits become bytes of 0 and 1; past_caches: no cache should keep them.
void expand(const std::uint64_t* words, std::int64_t n, bool past_caches, std::uint8_t* flags);

// The places of the bits of a byte that are set, in order.
struct Places {
  std::uint32_t at[256][8] = {};
  constexpr Places() {
    for (unsigned bits = 0; bits < 256; ++bits) {
      for (unsigned i = 0, n = 0; i < 8; ++i) {
        if ((bits >> i & 1) != 0) at[bits][n++] = i;
      }
    }
  }
};
inline constexpr Places kPlaces;

// Positions and bits of the scores that are between, in order; returns how many. Writes up to
// kAppendSlack entries past the end of what it adds.
inline constexpr std::int64_t kAppendSlack = 64;
std::int64_t append(const float* scores, const std::uint64_t* between, std::int64_t n,
                    std::int64_t first, std::uint32_t* bits, std::int64_t* positions);
std::int64_t append(const double* scores, const std::uint64_t* between, std::int64_t n,
                    std::int64_t first, std::uint64_t* bits, std::int64_t* positions);

// Copies those of n values whose bit is set, in order, and returns how many. `to` may be `from`, or
// has room for kAppendSlack more.
std::int64_t compact(const std::uint32_t* from, const std::uint64_t* words, std::int64_t n,
                     std::uint32_t* to);
std::int64_t compact(const std::uint64_t* from, const std::uint64_t* words, std::int64_t n,
                     std::uint64_t* to);

// Flags of the eligible scores that have this key.
void find_equal(const float* scores, const std::uint8_t* eligible, std::int64_t n,
                std::uint32_t flip, std::uint32_t key, std::uint8_t* equal);
void find_equal(const double* scores, const std::uint8_t* eligible, std::int64_t n,
                std::uint64_t flip, std::uint64_t key, std::uint8_t* equal);

// The bits of the k best of n scores as select_top has them, k in [1, n), in (n + kBlock) / 64
// words; false where a sample of them misled it, with any bits. *worst: no key chosen is below it.
bool mark_top(const float* scores, std::int64_t n, std::int64_t k, bool largest,
              std::uint64_t* marks, std::uint32_t* worst);
bool mark_top(const double* scores, std::int64_t n, std::int64_t k, bool largest,
              std::uint64_t* marks, std::uint64_t* worst);

void bits_to_keys(std::uint32_t* bits, std::int64_t n, std::uint32_t flip);
void bits_to_keys(std::uint64_t* bits, std::int64_t n, std::uint64_t flip);

std::int64_t count_within(const std::uint32_t* keys, std::int64_t n, std::uint32_t lowest,
                          std::uint32_t highest);
std::int64_t count_within(const std::uint64_t* keys, std::int64_t n, std::uint64_t lowest,
                          std::uint64_t highest);

// For a sample in stretches that end at ends[..], returns the standard deviation of the number of
// keys not below a key, of which a `share` is expected in each stretch. Keys of one stretch may be
// alike: what the stretches show counts, not their length.
double rank_deviation(const std::uint32_t* keys, const std::int64_t* ends, std::int64_t stretches,
                      std::uint32_t key, double share);
double rank_deviation(const std::uint64_t* keys, const std::int64_t* ends, std::int64_t stretches,
                      std::uint64_t key, double share);

std::int64_t count_ones(const std::uint8_t* flags, std::int64_t n);     // flags of 0 and 1
std::int64_t count_nonzero(const std::uint8_t* flags, std::int64_t n);  // any bytes

// Storage that grows without being cleared or, unless asked, kept.
template <class V>
class Scratch {
 public:
  V* reserve(std::int64_t n) {
    if (n > size_) {
      data_.reset();
      data_ = std::make_unique_for_overwrite<V[]>(static_cast<std::size_t>(n));
      size_ = n;
    }
    return data_.get();
  }
  void release() {
    data_.reset();
    size_ = 0;
  }
  V* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }

 private:
  std::unique_ptr<V[]> data_;
  std::int64_t size_ = 0;
};

template <class Key>
struct Kth {
  Key key;
  std::int64_t above;  // how many keys are larger
};
// The rank-th largest of n keys, rank in [1, n]: a histogram between the smallest and the largest
// key, then nth_element in one of its buckets.
Kth<std::uint32_t> kth_largest(const std::uint32_t* keys, std::int64_t n, std::int64_t rank);
Kth<std::uint64_t> kth_largest(const std::uint64_t* keys, std::int64_t n, std::int64_t rank);

// The same histogram for several questions. Where one of the n keys is to be known, n > 0.
template <class Key>  // std::uint32_t or std::uint64_t
class Ranks {
 public:
  Ranks(const Key* keys, std::int64_t n);
  Key rough(std::int64_t rank) const;  // the lower end of the rank-th largest key's bucket
  Kth<Key> exact(std::int64_t rank) const;
  struct Two {
    Key smaller, larger;
  };
  // low_rank >= high_rank, in [1, n].
  Two exact(std::int64_t low_rank, std::int64_t high_rank) const;

 private:
  static constexpr int kBucketBits = 11;
  std::vector<Key> gather(std::size_t first, std::size_t last) const;
  Kth<std::size_t> bucket_of(std::int64_t rank) const;

  const Key* keys_;
  std::int64_t n_;
  Key low_ = 0, high_ = 0;
  int shift_ = 0;
  std::array<std::int64_t, std::size_t{1} << kBucketBits> counts_{};
};

}  // namespace tandem::selecting
