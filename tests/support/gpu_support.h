// What the gpu tests share. A case begins with
//   if (gpu_missing()) return;
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/plugin.h"
#include "data/tensor.h"
#include "support/skip.h"

namespace tandem::test {

// Where there is no GPU, skips the case and says why.
inline bool gpu_missing() {
  const PluginStatus& status = load_cuda_plugin();
  if (status.api != nullptr && status.api->device_count() > 0) return false;
  skip(status.message);
  return true;
}

using Bytes = std::vector<std::uint8_t>;

// A vector's copy in device memory, between guard bands that read() checks; `lead` moves it that
// many elements off its 16-byte boundary.
template <class T>
class OnGpu {
 public:
  explicit OnGpu(const std::vector<T>& values, std::size_t lead = 0)
      : before_(kGuard + lead * sizeof(T)), bytes_(values.size() * sizeof(T)) {
    Bytes all(before_ + bytes_ + kGuard, kPoison);
    if (bytes_ > 0) std::memcpy(all.data() + before_, values.data(), bytes_);
    memory_ = torch::from_blob(all.data(), {static_cast<std::int64_t>(all.size())}, torch::kByte)
                  .to(torch::kCUDA);
  }
  T* data() { return reinterpret_cast<T*>(memory_.data_ptr<std::uint8_t>() + before_); }

  std::vector<T> read() const {
    const at::Tensor host = memory_.to(torch::kCPU);
    const std::uint8_t* all = host.data_ptr<std::uint8_t>();
    std::size_t spoiled = 0;
    for (std::size_t i = 0; i < before_; ++i) spoiled += all[i] != kPoison;
    for (std::size_t i = 0; i < kGuard; ++i) spoiled += all[before_ + bytes_ + i] != kPoison;
    REQUIRE(spoiled == 0);
    std::vector<T> values(bytes_ / sizeof(T));
    if (bytes_ > 0) std::memcpy(values.data(), all + before_, bytes_);
    return values;
  }

 private:
  static constexpr std::size_t kGuard = 256;
  static constexpr std::uint8_t kPoison = 0xA5;
  std::size_t before_, bytes_;
  at::Tensor memory_;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace tandem::test
