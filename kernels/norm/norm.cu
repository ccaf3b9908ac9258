// A warp has a row at a time. What it sums for the gain stays in shared memory, a row of it for
// each warp, where no two lanes meet.
#include "kernels/cuda_kernel.h"
#include "kernels/norm/norm_cuda.h"
#include "kernels/pack.cuh"

namespace tandem {
namespace {

constexpr int kWarps = 8, kLanes = 32;

template <class T>
__device__ T sum_of_warp(T x) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffU, x, step);
  return x;
}

template <class T>
__global__ void __launch_bounds__(kWarps* kLanes)
    norm_kernel(const T* __restrict__ x, const T* __restrict__ gain, std::int64_t all,
                std::int64_t rows, int width, T epsilon, T* __restrict__ y,
                T* __restrict__ inverse) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes;
  if (row >= all) return;
  const int lane = threadIdx.x % kLanes;
  x += row * width;
  y += row * width;
  gain += row / rows * width;
  T sum = 0;
  for (int i = lane; i < width; i += kLanes) sum += x[i] * x[i];
  const T factor = T(1) / sqrt(sum_of_warp(sum) / T(width) + epsilon);
  for (int i = lane; i < width; i += kLanes) y[i] = x[i] * factor * gain[i];
  if (lane == 0) inverse[row] = factor;
}

// blockIdx.y: the replica; blockIdx.x: kNormRows of its rows.
template <class T>
__global__ void __launch_bounds__(kWarps* kLanes)
    norm_gradient_kernel(const T* __restrict__ x, const T* __restrict__ gain,
                         const T* __restrict__ inverse, const T* __restrict__ dy, std::int64_t rows,
                         int width, T* __restrict__ dx, T* __restrict__ gain_parts) {
  extern __shared__ unsigned char room[];
  T* parts = reinterpret_cast<T*>(room);  // [kWarps,W]
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const std::int64_t replica = blockIdx.y;
  gain += replica * width;
  T* own = parts + warp * width;
  for (int i = lane; i < width; i += kLanes) own[i] = 0;
  const std::int64_t first = std::int64_t{blockIdx.x} * kNormRows;
  const std::int64_t end = first + kNormRows < rows ? first + kNormRows : rows;
  for (std::int64_t r = first + warp; r < end; r += kWarps) {
    const std::int64_t row = replica * rows + r, at = row * width;
    const T factor = inverse[row];
    T along = 0;
    for (int i = lane; i < width; i += kLanes) along += dy[at + i] * gain[i] * (x[at + i] * factor);
    along = sum_of_warp(along) / T(width);
    for (int i = lane; i < width; i += kLanes) {
      const T unit = x[at + i] * factor, outer = dy[at + i];
      own[i] += outer * unit;
      dx[at + i] = factor * (outer * gain[i] - unit * along);
    }
  }
  __syncthreads();
  gain_parts += (replica * gridDim.x + blockIdx.x) * width;
  for (int i = threadIdx.x; i < width; i += kWarps * kLanes) {
    T sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += parts[w * width + i];
    gain_parts[i] = sum;
  }
}

bool is_norm(std::int64_t replicas, std::int64_t rows, std::int64_t width) {
  return replicas > 0 && replicas <= kMostRows && rows > 0 && width > 0 && width <= kMostNormWidth;
}

}  // namespace

template <class T>
int rms_norm_cuda(const T* x, const T* gain, std::int64_t replicas, std::int64_t rows,
                  std::int64_t width, double epsilon, T* y, T* inverse, void* stream) {
  if (!is_norm(replicas, rows, width)) return cudaErrorInvalidValue;
  const std::int64_t all = replicas * rows, blocks = (all + kWarps - 1) / kWarps;
  norm_kernel<<<static_cast<unsigned>(blocks), kWarps * kLanes, 0,
                static_cast<cudaStream_t>(stream)>>>(x, gain, all, rows, static_cast<int>(width),
                                                     static_cast<T>(epsilon), y, inverse);
  return cudaGetLastError();
}

template <class T>
int rms_norm_gradient_cuda(const T* x, const T* gain, const T* inverse, const T* dy,
                           std::int64_t replicas, std::int64_t rows, std::int64_t width, T* dx,
                           T* gain_parts, void* stream) {
  if (!is_norm(replicas, rows, width)) return cudaErrorInvalidValue;
  const std::int64_t chunks = (rows + kNormRows - 1) / kNormRows;
  const std::size_t bytes = sizeof(T) * kWarps * static_cast<std::size_t>(width);
  const auto kernel = norm_gradient_kernel<T>;
  if (bytes > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) {
      cudaGetLastError();  // it is told here, and not again at somebody else's launch
      return error;
    }
  }
  kernel<<<dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(replicas)), kWarps * kLanes,
           bytes, static_cast<cudaStream_t>(stream)>>>(x, gain, inverse, dy, rows,
                                                       static_cast<int>(width), dx, gain_parts);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("rms_norm", rms_norm_cuda<float>, rms_norm_cuda<double>) &&
    offer_cuda_kernel("rms_norm_gradient", rms_norm_gradient_cuda<float>,
                      rms_norm_gradient_cuda<double>);

}  // namespace

}  // namespace tandem
