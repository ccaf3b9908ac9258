// The GPU version of masked.h. A block belongs to one segment (blockIdx.y), so that `full` never
// diverges; a segment that is copied whole does not read its mask.
#include "kernels/cuda_kernel.h"
#include "kernels/masked/masked_cuda.h"
#include "kernels/pack.cuh"

namespace tandem {
namespace {

constexpr int kThreads = 256, kWide = 4;

// nvcc 13 takes a plain store apart where it unrolls the loop around it.
__device__ void store_whole(float* to, const Pack<float, kWide>& pack) {
  __stwb(reinterpret_cast<float4*>(to),
         make_float4(pack.at[0], pack.at[1], pack.at[2], pack.at[3]));
}

template <class T, int kWidth>
__device__ void store_whole(T* to, const Pack<T, kWidth>& pack) {
  store(to, pack);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    masked_copy_kernel(const T* __restrict__ w, const std::uint8_t* __restrict__ m, std::int64_t n,
                       const std::uint8_t* __restrict__ full, T* out) {
  const std::int64_t offset = blockIdx.y * n;
  const bool whole = full != nullptr && full[blockIdx.y] != 0;
  w += offset;
  m += offset;
  out += offset;
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kWidth);
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth; i < n;
       i += stride) {
    const auto value = load<kWidth>(w + i);
    Pack<std::uint8_t, kWidth> flags;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) flags.at[j] = 1;
    if (!whole) flags = load<kWidth>(m + i);
    Pack<T, kWidth> kept;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) kept.at[j] = flags.at[j] != 0 ? value.at[j] : T(0);
    store_whole(out + i, kept);
  }
}

}  // namespace

template <class T>
int masked_copy_cuda(const T* w, const std::uint8_t* m, std::int64_t segments, std::int64_t n,
                     const std::uint8_t* full, T* out, void* stream) {
  const bool any = segments > 0 && n > 0;
  if (any && (w == nullptr || m == nullptr || out == nullptr)) return cudaErrorInvalidValue;
  const bool wide = n % kWide == 0 && lies_on(w, 16) && lies_on(out, 16) && lies_on(m, kWide);
  const auto kernel = wide ? masked_copy_kernel<T, kWide> : masked_copy_kernel<T, 1>;
  return for_rows(n, segments, kThreads * (wide ? kWide : 1), [&](dim3 grid, std::int64_t first) {
    kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        w + first * n, m + first * n, n, full != nullptr ? full + first : nullptr, out + first * n);
  });
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("masked_copy", masked_copy_cuda<float>, masked_copy_cuda<double>);

}  // namespace

}  // namespace tandem
