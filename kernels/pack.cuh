// What the element-wise CUDA kernels share: values moved 16 bytes at a time where every row begins
// on such a boundary, and grids of (chunks, rows) in which a block belongs to one row.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace tandem {

constexpr std::int64_t kMostRows = 65535;  // the limit of gridDim.y
constexpr std::int64_t kBlocks = 16384;    // enough to fill a GPU many times over

template <class T, int kWidth>
struct alignas(kWidth == 1 ? sizeof(T) : std::min<std::size_t>(16, kWidth * sizeof(T))) Pack {
  T at[kWidth];
};

template <int kWidth, class T>
__device__ Pack<T, kWidth> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
}

template <class T, int kWidth>
__device__ void store(T* to, const Pack<T, kWidth>& pack) {
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

// A product that is rounded before anything is added to it.
__device__ inline float rounded(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double rounded(double a, double b) { return __dmul_rn(a, b); }

inline bool lies_on(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

inline std::int64_t blocks_for(std::int64_t count, std::int64_t per_block) {
  return (count + per_block - 1) / per_block;
}

// Calls launch(grid, first row) for all rows of n values, `per_block` of them to a block. Returns 0
// or the first launch's error.
template <class Launch>
int for_rows(std::int64_t n, std::int64_t rows, std::int64_t per_block, const Launch& launch) {
  if (n < 0 || rows < 0) return cudaErrorInvalidValue;
  if (n == 0) return cudaSuccess;
  for (std::int64_t first = 0; first < rows; first += kMostRows) {
    const std::int64_t here = std::min(rows - first, kMostRows);
    const std::int64_t chunks = std::min(blocks_for(n, per_block), blocks_for(kBlocks, here));
    launch(dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(here)), first);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace tandem
