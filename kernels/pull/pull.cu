// A block takes a share of one replica's segment, so that its factor and flags never diverge. Each
// block leaves a part of the sum, which a second kernel adds up in order: the same input gives the
// same bits. Products are rounded before they are added, as on the CPU.
#include <algorithm>

#include "kernels/cuda_kernel.h"
#include "kernels/pack.cuh"
#include "kernels/pull/pull_cuda.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    pull_kernel(PullTerm<T> term, T* out, double* __restrict__ scratch) {
  const std::int64_t offset = blockIdx.y * term.n;
  const T factor = term.factor[blockIdx.y];
  double sum = 0;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < term.n;
       i += stride) {
    const std::int64_t at = offset + i;
    const T away = term.weight[at] - term.center[at];
    const T pull = rounded(term.importance[at], away);
    const T own = term.flags == nullptr || term.flags[at] != 0 ? rounded(pull, factor) : T(0);
    out[at] = term.gradient != nullptr ? term.gradient[at] + own : own;
    sum += double(rounded(pull, away));
  }
  __shared__ double lanes[kThreads];
  lanes[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
  }
  if (threadIdx.x == 0) scratch[blockIdx.y * kPullParts + blockIdx.x] = lanes[0];
}

__global__ void add_parts_of_pull(const double* __restrict__ scratch, int parts,
                                  std::int64_t replicas, double* sums) {
  const std::int64_t r = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (r >= replicas) return;
  double sum = 0;
  for (int part = 0; part < parts; ++part) sum += scratch[r * kPullParts + part];
  sums[r] += sum;
}

}  // namespace

template <class T>
int add_pull_cuda(const PullTerm<T>& term, T* out, double* sums, double* scratch, void* stream) {
  if (term.n < 0 || term.replicas < 0 || term.replicas > kMostRows) return cudaErrorInvalidValue;
  if (term.n == 0 || term.replicas == 0) return cudaSuccess;
  const auto on = static_cast<cudaStream_t>(stream);
  // A number that depends on n alone, so that a replica's sum does not depend on its company.
  const auto parts = static_cast<unsigned>(std::min(kPullParts, blocks_for(term.n, 4 * kThreads)));
  pull_kernel<T>
      <<<dim3(parts, static_cast<unsigned>(term.replicas)), kThreads, 0, on>>>(term, out, scratch);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  const auto blocks = static_cast<unsigned>(blocks_for(term.replicas, kThreads));
  add_parts_of_pull<<<blocks, kThreads, 0, on>>>(scratch, static_cast<int>(parts), term.replicas,
                                                 sums);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("add_pull", add_pull_cuda<float>, add_pull_cuda<double>);

}  // namespace
}  // namespace tandem::kernels
