// A batch gathered on a GPU has the CPU's bits: scaling rounds product and sum apart on both.
#include <catch2/catch.hpp>

#include "data/gather.h"
#include "data/tensor.h"
#include "support/gpu_support.h"

namespace tandem::test::data_gather_cuda_gpu {

using namespace tandem::test;

TEST_CASE("images gathered on a GPU equal the CPU's in every bit", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t features : {1, 3, 784, 1027}) {
    for (const at::ScalarType dtype : {torch::kFloat32, torch::kFloat64}) {
      CAPTURE(features, dtype);
      Dataset data;
      data.kind = Dataset::Kind::kImages;
      data.inputs = torch::randint(0, 256, {50, features}, torch::kUInt8);
      data.labels = torch::randint(0, 10, {50}, torch::kInt64);
      data.mean = 0.286;
      data.deviation = 0.353;
      const at::Tensor index = torch::randint(0, 50, {3, 41}, torch::kInt64);
      const DeviceDataset cpu = to_device(data, torch::kCPU, dtype);
      const DeviceDataset gpu = to_device(data, torch::kCUDA, dtype);
      const at::Tensor there = index.to(torch::kCUDA);
      REQUIRE(torch::equal(gather_images(gpu, there).cpu(), gather_images(cpu, index)));
      REQUIRE(torch::equal(gather_labels(gpu, there).cpu(), gather_labels(cpu, index)));
    }
  }
}

}  // namespace tandem::test::data_gather_cuda_gpu
