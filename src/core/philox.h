// Philox4x32-10 (Salmon et al., SC 2011), header-only so that a .cu file can use it.
// A stream is a 64-bit key; its i-th draw is a pure function of (key, i), so that no generator has
// a state that a checkpoint would have to keep, and no consumer shifts another's draws.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/host_device.h"

namespace tandem {

struct PhiloxBlock {
  std::uint32_t word[4];
};

TANDEM_HOST_DEVICE inline PhiloxBlock philox4x32(std::uint64_t key, std::uint64_t counter_low,
                                                 std::uint64_t counter_high = 0) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::uint32_t c0 = static_cast<std::uint32_t>(counter_low);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter_low >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(counter_high);
  std::uint32_t c3 = static_cast<std::uint32_t>(counter_high >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

TANDEM_HOST_DEVICE inline std::uint64_t mix64(std::uint64_t x) {  // splitmix64's finaliser
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// Key of a run's named stream ("data", "classes", "init", "topology", "streams", ...).
inline std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t h = 0xCBF29CE484222325ull;  // FNV-1a over the name
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return mix64(mix64(seed) ^ h);
}
TANDEM_HOST_DEVICE inline std::uint64_t sub_key(std::uint64_t key, std::uint64_t index) {
  return mix64(key ^ mix64(index + 1));
}

// Random access to the draws of a stream.
struct RandomStream {
  std::uint64_t key;

  TANDEM_HOST_DEVICE std::uint64_t bits(std::uint64_t i) const {
    const PhiloxBlock b = philox4x32(key, i);
    return (static_cast<std::uint64_t>(b.word[1]) << 32) | b.word[0];
  }
  // Uniform in [0, 1), 53 bits.
  TANDEM_HOST_DEVICE double uniform(std::uint64_t i) const {
    return static_cast<double>(bits(i) >> 11) * (1.0 / 9007199254740992.0);
  }
  // Uniform in [0, n); the bias of the multiply-shift is below 2^-32 for n < 2^32.
  TANDEM_HOST_DEVICE std::uint64_t below(std::uint64_t i, std::uint64_t n) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(i)) * n) >> 64);
  }
};

}  // namespace tandem
