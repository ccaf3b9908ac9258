// A batch gathered on a GPU has the CPU's bits: scaling rounds product and sum apart on both.
#include <catch2/catch.hpp>
#include <memory>

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

TEST_CASE("images gathered through views on a GPU equal the CPU's in every bit", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::int64_t side : {1, 3, 28}) {
    for (const at::ScalarType dtype : {torch::kFloat32, torch::kFloat64}) {
      for (const bool rotated : {false, true}) {
        CAPTURE(side, dtype, rotated);
        Dataset data;
        data.inputs = torch::randint(0, 256, {50, side * side}, torch::kUInt8);
        data.labels = torch::zeros({50}, torch::kInt64);
        data.mean = 0.286;
        data.deviation = 0.353;
        std::vector<std::vector<InputView>> views(3);
        for (auto& own : views) {
          for (int task = 0; task < 4; ++task) {
            const at::Tensor order = torch::randperm(side * side);
            const auto* first = order.data_ptr<std::int64_t>();
            own.push_back(rotated ? rotated_view({side, side}, 17.0 * task + 5)
                                  : permuted_view({first, first + side * side}));
          }
        }
        const at::Tensor index = torch::randint(0, 50, {3, 41}, torch::kInt64);
        const at::Tensor row = torch::randint(0, 12, {3, 41}, torch::kInt64);
        const at::Tensor cpu = gather_images(to_device(data, torch::kCPU, dtype), index,
                                             to_device(views, torch::kCPU), row);
        const at::Tensor gpu = gather_images(to_device(data, torch::kCUDA, dtype), index.cuda(),
                                             to_device(views, torch::kCUDA), row.cuda());
        REQUIRE(torch::equal(gpu.cpu(), cpu));
      }
    }
  }
}

TEST_CASE("images turned by angles of their own on a GPU equal the CPU's in every bit", "[gpu]") {
  if (gpu_missing()) return;
  constexpr std::int64_t kImages = 500;
  for (const std::int64_t side : {1, 3, 28}) {
    for (const at::ScalarType dtype : {torch::kFloat32, torch::kFloat64}) {
      CAPTURE(side, dtype);
      Dataset data;
      data.inputs = torch::randint(0, 256, {kImages, side * side}, torch::kUInt8);
      data.labels = torch::zeros({kImages}, torch::kInt64);
      data.mean = 0.286;
      data.deviation = 0.353;
      std::vector<std::shared_ptr<const ExampleAngles>> angles;
      for (std::int32_t run = 0; run < 3; ++run) {
        ExampleAngles own;
        own.arcs = {{-60, 300}, {0, 200}};
        for (std::int32_t i = 0; i < kImages; ++i) own.number.push_back((i * 7 + run) % kImages);
        angles.push_back(std::make_shared<const ExampleAngles>(own));
      }
      const at::Tensor index = torch::randint(0, kImages, {3, 301}, torch::kInt64);
      const at::Tensor cpu =
          gather_images(to_device(data, torch::kCPU, dtype), index, to_device(angles, torch::kCPU));
      const at::Tensor gpu = gather_images(to_device(data, torch::kCUDA, dtype), index.cuda(),
                                           to_device(angles, torch::kCUDA));
      REQUIRE(torch::equal(gpu.cpu(), cpu));
    }
  }
}

}  // namespace tandem::test::data_gather_cuda_gpu
