// The GPU versions of masked.h, over `segments` segments of n values each. All pointers are device
// memory, `full` may be null (no segment is copied whole); `stream` is a cudaStream_t. They return
// 0 or the CUDA error's code.
#pragma once

#include <cstdint>

namespace tandem {

template <class T>
int masked_copy_cuda(const T* w, const std::uint8_t* m, std::int64_t segments, std::int64_t n,
                     const std::uint8_t* full, T* out, void* stream);

}  // namespace tandem
