// Batches by index: values, types and shapes.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>

#include "data/example.h"
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

namespace {

// A picture of side x side pixels, gathered through a view, row by row.
std::vector<double> seen(const std::vector<std::uint8_t>& pixels, const InputView& view) {
  Dataset data;
  const auto count = static_cast<std::int64_t>(pixels.size());
  data.inputs = at::zeros({3, count}, at::kByte);
  for (std::int64_t i = 0; i < count; ++i) data.inputs[1][i] = pixels[static_cast<std::size_t>(i)];
  data.labels = at::zeros({3}, at::kLong);
  data.mean = 0;
  data.deviation = 1 / 255.0;  // as they are
  const DeviceDataset device = to_device(data, at::kCPU, at::kDouble);
  const std::vector<InputView> views(2, view);
  // The one that is meant is row 2 of two runs with two tasks each.
  const at::Tensor x =
      gather_images(device, at::full({2, 3}, 1, at::kLong),
                    to_device(std::vector(2, views), at::kCPU), at::full({2, 3}, 2, at::kLong));
  const at::Tensor own = x[1][2].contiguous();
  return {own.data_ptr<double>(), own.data_ptr<double>() + count};
}

}  // namespace

TEST_CASE("a permuted view has pixel order[i] of the source at i", "[unit]") {
  CHECK(seen({10, 20, 30, 40}, permuted_view({2, 0, 3, 1})) == std::vector<double>{30, 10, 40, 20});
}

TEST_CASE("a rotated view turns a picture about its centre, counter-clockwise", "[unit]") {
  const std::vector<std::uint8_t> picture = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto require = [&](double degrees, const std::vector<double>& expected) {
    CAPTURE(degrees);
    const std::vector<double> turned = seen(picture, rotated_view({3, 3}, degrees));
    for (std::size_t i = 0; i < 9; ++i) CHECK(turned[i] == Approx(expected[i]).margin(1e-5));
  };
  require(0, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  require(90, {3, 6, 9, 2, 5, 8, 1, 4, 7});  // what was at the right is at the top
  require(180, {9, 8, 7, 6, 5, 4, 3, 2, 1});
  require(270, {7, 4, 1, 8, 5, 2, 9, 6, 3});

  // Of two rows of three pixels and two channels; a turn by 90 degrees shows a square of the
  // middle.
  const std::vector<std::uint8_t> wide = {1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16};
  const std::vector<double> half = seen(wide, rotated_view({2, 3, 2}, 180));
  const std::vector<double> turned_over = {6, 5, 4, 3, 2, 1, 16, 15, 14, 13, 12, 11};
  for (std::size_t i = 0; i < 12; ++i) CHECK(half[i] == Approx(turned_over[i]).margin(1e-5));
  const std::vector<double> quarter = seen(wide, rotated_view({2, 3, 2}, 90));
  // At the middle of its row: halves of the pixels right of the middle, then left of it.
  CHECK(quarter[1] == Approx((2 + 3 + 5 + 6) / 4.0));
  CHECK(quarter[4] == Approx((1 + 2 + 4 + 5) / 4.0));
  CHECK(quarter[7] == Approx(quarter[1] + 10));
  CHECK(quarter[10] == Approx(quarter[4] + 10));

  // A plane stays a plane: the value at a point is that of the source where it came from, and it is
  // 0 where that lies outside.
  constexpr std::int64_t kSide = 28;
  std::vector<std::uint8_t> plane;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) plane.push_back(static_cast<std::uint8_t>(20 + 2 * x + 5 * y));
  }
  const double angle = 0.6;
  const std::vector<double> turned = seen(plane, rotated_view({kSide, kSide}, angle * 180 / M_PI));
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      // The picture's y axis points down, so that a turn to the left brings a point from the right.
      const double dx = x - 13.5, dy = y - 13.5;
      const double from_x = 13.5 + std::cos(angle) * dx - std::sin(angle) * dy;
      const double from_y = 13.5 + std::sin(angle) * dx + std::cos(angle) * dy;
      const bool inside = from_x > 0 && from_y > 0 && from_x < 27 && from_y < 27;
      const bool outside = from_x < -1 || from_y < -1 || from_x > 28 || from_y > 28;
      CAPTURE(x, y);
      const double value = turned[static_cast<std::size_t>(y * kSide + x)];
      if (inside) CHECK(value == Approx(20 + 2 * from_x + 5 * from_y).epsilon(1e-5));
      if (outside) CHECK(value == 0);
    }
  }
}

namespace {

// The brightness of an image at a point between its pixels, in double precision: each pixel counts
// by how near it is in either direction.
double brightness(const at::Tensor& image, std::int64_t side, double y, double x) {
  double sum = 0;
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      const double near = std::max(0.0, 1 - std::abs(y - static_cast<double>(row))) *
                          std::max(0.0, 1 - std::abs(x - static_cast<double>(column)));
      sum += near * image[row * side + column].item<double>();
    }
  }
  return sum;
}

// Two runs whose examples take the same 7 angles in other orders.
std::vector<std::shared_ptr<const ExampleAngles>> two_runs(std::int64_t examples) {
  std::vector<std::shared_ptr<const ExampleAngles>> all;
  for (std::int32_t run = 0; run < 2; ++run) {
    ExampleAngles angles;
    angles.arcs = {{-60, 4}, {10.5, 3}};
    for (std::int32_t i = 0; i < examples; ++i) angles.number.push_back((i + 5 * run) % 7);
    all.push_back(std::make_shared<const ExampleAngles>(angles));
  }
  return all;
}

}  // namespace

TEST_CASE("angles go once round each arc", "[unit]") {
  const std::vector<double> degrees = degrees_of({{-60, 4}, {10.5, 3}, {0, 0}, {360, 1}});
  CHECK(degrees == std::vector<double>{300, 30, 120, 210, 10.5, 130.5, 250.5, 0});
}

TEST_CASE("images under angles of their own are turned as a view is, by each run's angles",
          "[unit]") {
  constexpr std::int64_t kExamples = 9;
  for (const std::int64_t side : {1, 3, 8}) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      CAPTURE(side, dtype);
      Dataset data;
      data.inputs = at::randint(0, 256, {kExamples, side * side}, at::kByte);
      data.labels = at::zeros({kExamples}, at::kLong);
      data.mean = 0.286;
      data.deviation = 0.353;
      const DeviceDataset device = to_device(data, at::kCPU, dtype);
      const auto angles = two_runs(kExamples);
      const std::vector<double> degrees = degrees_of(angles[0]->arcs);
      const at::Tensor index =
          at::tensor(std::vector<std::int64_t>{8, 0, 5, 3, 8, 1, 2, 0, 4, 7}).view({2, 5});
      const at::Tensor x = gather_images(device, index, to_device(angles, at::kCPU));
      REQUIRE(x.scalar_type() == dtype);
      REQUIRE(x.sizes() == at::IntArrayRef({2, 5, side * side}));
      for (std::int64_t r = 0; r < 2; ++r) {
        for (std::int64_t i = 0; i < 5; ++i) {
          const auto example = index[r][i].item<std::int64_t>();
          const std::int32_t number =
              angles[static_cast<std::size_t>(r)]->number[static_cast<std::size_t>(example)];
          const double own = degrees[static_cast<std::size_t>(number)];
          CAPTURE(r, i, own);
          const at::Tensor viewed =
              gather_images(device, index[r][i].view({1, 1}),
                            to_device({{rotated_view({side, side}, own)}}, at::kCPU),
                            at::zeros({1, 1}, at::kLong));
          REQUIRE(at::equal(viewed[0][0], x[r][i]));
          const double c = std::cos(own / 180 * M_PI), s = std::sin(own / 180 * M_PI);
          const double centre = static_cast<double>(side - 1) / 2;
          for (std::int64_t pixel = 0; pixel < side * side; ++pixel) {
            const double dy = static_cast<double>(pixel / side) - centre,
                         dx = static_cast<double>(pixel % side) - centre;
            const double seen = brightness(data.inputs[example], side, centre + s * dx + c * dy,
                                           centre + c * dx - s * dy);
            const double expected = (seen / 255 - 0.286) / 0.353;
            REQUIRE(x[r][i][pixel].item<double>() == Approx(expected).margin(2e-6));
          }
        }
      }
    }
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

TEST_CASE("windows of packed documents carry where each begins, and what counts", "[unit]") {
  Dataset data;
  data.kind = Dataset::Kind::kBytes;
  data.inputs = at::arange(200, 256, at::kByte);
  data.documents = {0, 3, 4, 9, 30};
  const DeviceDataset device = to_device(data, at::kCPU, at::kFloat);
  const std::vector<std::int64_t> begins = {0, 2, 9, 25};
  // An example's task does not change what it is.
  const at::Tensor starts = at::tensor(begins).view({2, 2}) + (std::int64_t{1} << kSourceBits);
  const PackedWindows packed_windows = gather_packed(device, starts, 6);
  const at::Tensor x = packed_windows.x.view({4, 6}), counted = packed_windows.counted.view({4, 6});
  const auto document = [&](std::int64_t place) {
    std::int64_t at = 0;
    for (const std::int64_t each : data.documents) at = each <= place ? each : at;
    return at;
  };
  for (std::int64_t w = 0; w < 4; ++w) {
    const std::int64_t start = begins[static_cast<std::size_t>(w)];
    for (std::int64_t t = 0; t < 6; ++t) {
      CAPTURE(w, t);
      const auto token = x[w][t].item<std::int64_t>();
      CHECK(token % 65536 == 200 + start + t);
      CHECK(token / 65536 == std::max<std::int64_t>(0, document(start + t) - start));
      CHECK(counted[w][t].item<bool>() == (document(start + t) == document(start + t + 1)));
    }
  }
  CHECK(at::equal(packed_windows.target, gather_windows(device, starts, 6).second));
}

TEST_CASE("gathering the wrong kind or shape is refused", "[unit]") {
  const DeviceDataset device = to_device(images(), at::kCPU, at::kFloat);
  const at::Tensor indices = at::zeros({2, 2}, at::kLong);
  CHECK_THROWS(gather_windows(device, indices, 4));
  CHECK_THROWS(gather_images(device, indices.view({-1})));
  CHECK_THROWS(gather_images(device, indices.to(at::kFloat)));
}

}  // namespace tandem::test::data_gather_unit
