// One thread takes one replica: a problem has as many unknowns as there are earlier tasks.
#include "kernels/cone/cone_cuda.h"
#include "kernels/cone/cone_replica.h"
#include "kernels/cuda_kernel.h"

namespace tandem::kernels {
namespace {

__global__ void cone_kernel(ConeProblem problem, double* v) {
  const std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r < problem.replicas) project_replica(problem, r, v);
}

}  // namespace

int project_onto_cone_cuda(const ConeProblem& problem, double* v, void* stream) {
  if (problem.replicas < 0 || problem.n < 0) return cudaErrorInvalidValue;
  if (problem.replicas == 0 || problem.n == 0) return cudaSuccess;
  constexpr int kReplicasPerBlock = 32;
  const auto blocks =
      static_cast<unsigned>((problem.replicas + kReplicasPerBlock - 1) / kReplicasPerBlock);
  cone_kernel<<<blocks, kReplicasPerBlock, 0, static_cast<cudaStream_t>(stream)>>>(problem, v);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("project_onto_cone", project_onto_cone_cuda);

}  // namespace
}  // namespace tandem::kernels
