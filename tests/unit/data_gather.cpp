// Batches by index: values, types and shapes.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "data/gather.h"

namespace tandem::test::data_gather_unit {
namespace {

Dataset images() {
  Dataset data;
  data.inputs = at::arange(0, 240, 20, at::kByte).reshape({4, 3});
  data.labels = at::tensor(std::vector<std::int64_t>{3, 1, 4, 1});
  data.features = 3;
  data.classes = 10;
  return data;
}

}  // namespace

TEST_CASE("gathered images are the selected pixels, scaled", "[unit]") {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    Dataset data = images();
    const at::Tensor indices = at::tensor(std::vector<std::int64_t>{3, 0, 0, 2, 1, 3}).view({2, 3});
    const at::Tensor raw = gather_images(to_device(data, at::kCPU, dtype), indices);
    CHECK(raw.scalar_type() == dtype);
    REQUIRE(raw.sizes() == at::IntArrayRef({2, 3, 3}));
    CHECK(raw[0][0][2].item<double>() == Approx(220 / 255.0));
    CHECK(raw[1][1][0].item<double>() == Approx(60 / 255.0));
    data.mean = 0.25;
    data.deviation = 0.5;
    const at::Tensor scaled = gather_images(to_device(data, at::kCPU, dtype), indices);
    CHECK(at::allclose(scaled, (raw - 0.25) / 0.5));
    const at::Tensor labels = gather_labels(to_device(data, at::kCPU, dtype), indices);
    CHECK(at::equal(labels, at::tensor(std::vector<std::int64_t>{1, 3, 3, 4, 1, 1}).view({2, 3})));
  }
}

TEST_CASE("gathered windows are a byte apart from their targets", "[unit]") {
  Dataset data;
  data.kind = Dataset::Kind::kBytes;
  data.inputs = at::arange(200, 256, at::kByte);
  const DeviceDataset device = to_device(data, at::kCPU, at::kFloat);
  const at::Tensor starts = at::tensor(std::vector<std::int64_t>{0, 51, 7, 7}).view({2, 2});
  const auto [inputs, targets] = gather_windows(device, starts, 4);
  REQUIRE(inputs.sizes() == at::IntArrayRef({2, 2, 4}));
  CHECK(inputs.scalar_type() == at::kLong);
  CHECK(inputs[0][1][0].item<std::int64_t>() == 251);
  CHECK(targets[0][1][3].item<std::int64_t>() == 255);
  CHECK(at::equal(targets, inputs + 1));
  CHECK(inputs.is_contiguous());
  CHECK(targets.is_contiguous());
}

TEST_CASE("gathering the wrong kind or shape is refused", "[unit]") {
  const DeviceDataset device = to_device(images(), at::kCPU, at::kFloat);
  const at::Tensor indices = at::zeros({2, 2}, at::kLong);
  CHECK_THROWS(gather_windows(device, indices, 4));
  CHECK_THROWS(gather_images(device, indices.view({-1})));
  CHECK_THROWS(gather_images(device, indices.to(at::kFloat)));
}

}  // namespace tandem::test::data_gather_unit
