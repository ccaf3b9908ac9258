// One thread adds up one replica's rows: the sum has an order. There are as many threads as
// replicas, and a row's neighbours come with it, so that a thousand of them take some microseconds.
#include <cuda_runtime.h>

#include "kernels/cuda_kernel.h"
#include "kernels/pack.cuh"
#include "kernels/tally/tally_cuda.h"
#include "kernels/tally/tally_replica.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 32;

template <class T>
__global__ void tally_kernel(TallyTerm<T> term, double* loss, std::int64_t* correct,
                             std::uint8_t* bits) {
  const std::int64_t r = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (r < term.replicas) tally_replica(term, r, loss, correct, bits);
}

}  // namespace

template <class T>
int add_tally_cuda(const TallyTerm<T>& term, double* loss, std::int64_t* correct,
                   std::uint8_t* bits, void* stream) {
  if (term.replicas < 0 || term.width < 0) return cudaErrorInvalidValue;
  if (term.replicas == 0 || term.width == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(blocks_for(term.replicas, kThreads));
  tally_kernel<T>
      <<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(term, loss, correct, bits);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("add_tally", add_tally_cuda<float>, add_tally_cuda<double>);

}  // namespace
}  // namespace tandem::kernels
