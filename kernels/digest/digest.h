// A tensor's digest is 64 bits that change with each bit of it, and where two elements that differ
// change places:
//   digest = sum over i of mix64(bits_i + i c)  modulo 2^64,  c = 0x9E3779B97F4A7C15
// where bits_i is the element's own bits as an unsigned integer, and mix64(s + i c) is the i-th
// number of a SplitMix64 generator that was seeded with s. A sum of integers has no order and no
// rounding, so that every device, storage and number of threads gives the same.
#pragma once

#include <cstdint>

namespace tandem::kernels {

constexpr std::uint64_t kDigestStep = 0x9E3779B97F4A7C15ull;

std::uint64_t digest(const std::uint32_t* bits, std::int64_t n);
std::uint64_t digest(const std::uint64_t* bits, std::int64_t n);

}  // namespace tandem::kernels
