// A block belongs to one output row (blockIdx.y).
#include "kernels/cuda_kernel.h"
#include "kernels/gather/gather_views.h"
#include "kernels/gather/rotation.h"
#include "kernels/pack.cuh"

namespace tandem {
namespace {

constexpr int kThreads = 128;

__device__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ double times(double a, double b) { return __dmul_rn(a, b); }
__device__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ double plus(double a, double b) { return __dadd_rn(a, b); }

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_views_kernel(ViewedRows viewed, std::int64_t first, T scale, T shift, T* out) {
  const std::int64_t i = first + blockIdx.y, features = viewed.features, taps = viewed.taps;
  const std::uint8_t* row = viewed.rows + viewed.index[i] * features;
  const std::int64_t place = viewed.view[i] * features * taps;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t f = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; f < features;
       f += stride) {
    T sum = 0;
    for (std::int64_t t = place + f * taps; t < place + (f + 1) * taps; ++t) {
      const T byte = static_cast<T>(row[viewed.from[t]]);
      sum = viewed.weight == nullptr ? byte
                                     : plus(sum, times(static_cast<T>(viewed.weight[t]), byte));
    }
    out[i * features + f] = plus(times(sum, scale), shift);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_turned_kernel(TurnedRows turned, std::int64_t first, T scale, T shift, T* out) {
  const std::int64_t i = first + blockIdx.y, side = turned.side, features = side * side;
  const std::uint8_t* image = turned.rows + turned.index[i] * features;
  const double* turn = turned.turn + 2 * std::int64_t{turned.angle[i]};
  const double cosine = turn[0], sine = turn[1];
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t f = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; f < features;
       f += stride) {
    const TurnedPixel pixel = turned_pixel(side, side, cosine, sine, f / side, f % side);
    T sum = 0;
    for (int tap = 0; tap < kTurnTaps; ++tap) {
      sum = plus(sum,
                 times(static_cast<T>(pixel.weight[tap]), static_cast<T>(image[pixel.from[tap]])));
    }
    out[i * features + f] = plus(times(sum, scale), shift);
  }
}

}  // namespace

template <class T>
int gather_views_cuda(const ViewedRows& viewed, T* out, void* stream) {
  return for_rows(viewed.features, viewed.count, kThreads, [&](dim3 grid, std::int64_t first) {
    gather_views_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        viewed, first, T(viewed.scale), T(viewed.shift), out);
  });
}

template <class T>
int gather_turned_cuda(const TurnedRows& turned, T* out, void* stream) {
  const std::int64_t features = turned.side * turned.side;
  return for_rows(features, turned.count, kThreads, [&](dim3 grid, std::int64_t first) {
    gather_turned_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        turned, first, T(turned.scale), T(turned.shift), out);
  });
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("gather_views", gather_views_cuda<float>, gather_views_cuda<double>) &&
    offer_cuda_kernel("gather_turned", gather_turned_cuda<float>, gather_turned_cuda<double>);

}  // namespace

}  // namespace tandem
