// The normalisation's GPU kernels against the CPU's operations in double precision.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "kernels/norm/norm_cuda.h"
#include "nn/transformer_ops.h"
#include "support/gpu_support.h"

namespace tandem::test::nn_norm_cuda_gpu {
namespace {

struct Outcome {
  at::Tensor y, dx, dgain;
};

Outcome outcome(const at::Tensor& x0, const at::Tensor& gain0, const at::Tensor& dy,
                at::Device device, at::ScalarType dtype) {
  const auto put = [&](const at::Tensor& t) { return t.to(device, dtype); };
  const at::Tensor x = put(x0).requires_grad_(true), gain = put(gain0).requires_grad_(true);
  const at::Tensor y = rms_norm(x, gain);
  const auto gradients = torch::autograd::grad({y}, {x, gain}, {put(dy)});
  const auto back = [](const at::Tensor& t) { return t.detach().to(torch::kCPU, torch::kDouble); };
  return {back(y), back(gradients[0]), back(gradients[1])};
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
}

}  // namespace

TEST_CASE("a normalisation on the GPU is the CPU's, to the last bits of its type", "[gpu]") {
  if (gpu_missing()) return;
  torch::manual_seed(3);
  for (const std::int64_t width : {1, 31, 192, 1024, 1025}) {
    for (const std::int64_t rows : {1, 63, 64, 200}) {
      for (const std::int64_t replicas : {1, 3}) {
        CAPTURE(width, rows, replicas);
        const auto drawn = [](const std::vector<std::int64_t>& sizes) {
          return torch::randn(sizes).to(torch::kDouble);  // of numbers that a float holds
        };
        at::Tensor x = drawn({replicas, rows, width});
        x.select(1, 0).zero_();
        const at::Tensor gain = drawn({replicas, width}), dy = drawn(x.sizes().vec());
        const Outcome right = outcome(x, gain, dy, torch::kCPU, torch::kDouble);
        for (const bool exact : {false, true}) {
          const at::ScalarType dtype = exact ? torch::kDouble : torch::kFloat;
          const double tolerance = exact ? 1e-12 : 2e-5;
          const Outcome gpu = outcome(x, gain, dy, torch::kCUDA, dtype);
          CHECK(difference(gpu.y, right.y) < tolerance);
          // A row of zeros has a factor of a thousand, and so have its gradients' roundings.
          CHECK(difference(gpu.dx, right.dx) < tolerance);
          CHECK(difference(gpu.dgain, right.dgain) < tolerance);
          const Outcome again = outcome(x, gain, dy, torch::kCUDA, dtype);
          REQUIRE(torch::equal(gpu.dgain, again.dgain));
        }
      }
    }
  }
}

}  // namespace tandem::test::nn_norm_cuda_gpu
