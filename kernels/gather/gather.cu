// A block belongs to one output row (blockIdx.y).
#include "kernels/cuda_kernel.h"
#include "kernels/gather/gather_cuda.h"
#include "kernels/pack.cuh"

namespace tandem {
namespace {

constexpr int kThreads = 128, kWide = 4;

__device__ float scaled(std::uint8_t byte, float scale, float shift) {
  return __fadd_rn(__fmul_rn(static_cast<float>(byte), scale), shift);
}
__device__ double scaled(std::uint8_t byte, double scale, double shift) {
  return __dadd_rn(__dmul_rn(static_cast<double>(byte), scale), shift);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const std::uint8_t* __restrict__ rows, std::int64_t features,
                  const std::int64_t* __restrict__ index, T scale, T shift, T* out) {
  rows += index[blockIdx.y] * features;
  out += blockIdx.y * features;
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kWidth);
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth; i < features;
       i += stride) {
    const auto bytes = load<kWidth>(rows + i);
    Pack<T, kWidth> values;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) values.at[j] = scaled(bytes.at[j], scale, shift);
    store(out + i, values);
  }
}

}  // namespace

template <class T>
int gather_rows_cuda(const std::uint8_t* rows, std::int64_t features, const std::int64_t* index,
                     std::int64_t count, double scale, double shift, T* out, void* stream) {
  const bool wide = features % kWide == 0 && lies_on(rows, kWide) && lies_on(out, 16);
  const auto kernel = wide ? gather_kernel<T, kWide> : gather_kernel<T, 1>;
  return for_rows(features, count, kThreads * (wide ? kWide : 1),
                  [&](dim3 grid, std::int64_t first) {
                    kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
                        rows, features, index + first, T(scale), T(shift), out + first * features);
                  });
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("gather_rows", gather_rows_cuda<float>, gather_rows_cuda<double>);

}  // namespace

}  // namespace tandem
