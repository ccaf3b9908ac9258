// Scores as integer keys whose order is the wanted one: the larger key is chosen earlier. Integers,
// because a worker flushes subnormals to zero in floating-point arithmetic. -0 has the key of +0,
// NaN the key 0, which no number has; the numbers' keys are kLowestNumber..kHighestNumber for the
// largest as for the smallest. Internal to kernels/select.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem::selecting {

template <class T>
struct Layout;
template <>
struct Layout<float> {
  using Key = std::uint32_t;
  using Half = std::uint16_t;
  static constexpr Key kInfinity = 0x7F800000u;
  static constexpr int kBits = 32, kBucketBits = 12;  // sign, exponent, 3 bits of the mantissa
};
template <>
struct Layout<double> {
  using Key = std::uint64_t;
  using Half = std::uint32_t;
  static constexpr Key kInfinity = 0x7FF0000000000000ull;
  static constexpr int kBits = 64, kBucketBits = 14;  // sign, exponent, 2 bits of the mantissa
};

template <class T>
using KeyOf = typename Layout<T>::Key;
template <class T>
inline constexpr KeyOf<T> kSignBit = KeyOf<T>{1} << (Layout<T>::kBits - 1);
template <class T>
inline constexpr KeyOf<T> kHighestNumber = kSignBit<T> | Layout<T>::kInfinity;
template <class T>
inline constexpr KeyOf<T> kLowestNumber = KeyOf<T>(~kHighestNumber<T>);

// 0 for the largest, all ones for the smallest.
template <class T>
constexpr KeyOf<T> flip_of(bool largest) {
  return largest ? KeyOf<T>{0} : KeyOf<T>(~KeyOf<T>{0});
}

template <class T>
inline __attribute__((always_inline)) KeyOf<T> key_of_bits(KeyOf<T> bits, KeyOf<T> flip) {
  using Key = KeyOf<T>;
  const Key magnitude = bits & ~kSignBit<T>;
  const Key unsigned_zero = magnitude == 0 ? Key{0} : bits;
  const Key negative = Key{0} - (unsigned_zero >> (Layout<T>::kBits - 1));
  const Key ordered = (unsigned_zero ^ (negative | kSignBit<T>)) ^ flip;
  return magnitude > Layout<T>::kInfinity ? Key{0} : ordered;
}

template <class T>
inline __attribute__((always_inline)) KeyOf<T> key_of(T score, KeyOf<T> flip) {
  return key_of_bits<T>(std::bit_cast<KeyOf<T>>(score), flip);
}

}  // namespace tandem::selecting
