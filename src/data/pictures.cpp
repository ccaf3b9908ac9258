#include "data/pictures.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace tandem {
namespace {

std::string shape_text(const Pictures& pictures) {
  return fmt::format("{}x{}x{}", pictures.channels, pictures.height, pictures.width);
}

}  // namespace

void append(Pictures& to, const Pictures& more) {
  to.channels = more.channels;
  to.height = more.height;
  to.width = more.width;
  to.count += more.count;
  to.pixels.insert(to.pixels.end(), more.pixels.begin(), more.pixels.end());
  to.labels.insert(to.labels.end(), more.labels.begin(), more.labels.end());
}

std::vector<std::uint8_t> resized(const std::vector<std::uint8_t>& pixels, std::int64_t channels,
                                  std::int64_t height, std::int64_t width, std::int64_t size) {
  if (height == size && width == size) return pixels;
  const at::Tensor from = at::from_blob(const_cast<std::uint8_t*>(pixels.data()),
                                        {1, channels, height, width}, at::kByte)
                              .to(at::kFloat);
  const at::Tensor to = at::_upsample_bilinear2d_aa(from, {size, size}, /*align_corners=*/false)
                            .round()
                            .clamp(0, 255)
                            .to(at::kByte)
                            .contiguous();
  const auto* data = to.const_data_ptr<std::uint8_t>();
  return {data, data + to.numel()};
}

Dataset dataset_of(const std::string& name, const Pictures& train, const Pictures& test,
                   std::int64_t classes, const std::string& path, const std::string& from,
                   const std::string& remedy) {
  if (shape_text(train) != shape_text(test)) {
    throw DataError(
        fmt::format("{}: expected images of {} (channels, height, width) as in {}, "
                    "found {}. {}",
                    path, shape_text(train), from, shape_text(test), remedy));
  }
  Dataset dataset;
  dataset.kind = Dataset::Kind::kImages;
  dataset.name = name;
  dataset.inputs = at::empty({train.count + test.count, train.features()}, at::kByte);
  auto* pixels = dataset.inputs.data_ptr<std::uint8_t>();
  std::copy(test.pixels.begin(), test.pixels.end(),
            std::copy(train.pixels.begin(), train.pixels.end(), pixels));
  dataset.labels = at::empty({train.count + test.count}, at::kLong);
  auto* labels = dataset.labels.data_ptr<std::int64_t>();
  std::copy(test.labels.begin(), test.labels.end(),
            std::copy(train.labels.begin(), train.labels.end(), labels));
  dataset.features = train.features();
  dataset.channels = train.channels;
  dataset.height = train.height;
  dataset.width = train.width;
  dataset.classes = classes;
  dataset.train.resize(static_cast<std::size_t>(train.count));
  std::iota(dataset.train.begin(), dataset.train.end(), std::int64_t{0});
  dataset.test.resize(static_cast<std::size_t>(test.count));
  std::iota(dataset.test.begin(), dataset.test.end(), train.count);
  return dataset;
}

void pad_pictures(Dataset& dataset, std::int64_t side) {
  if (side < dataset.height || side < dataset.width) {
    throw ConfigError(fmt::format(
        "pad_to = {} is less than the {}x{} pixels of {}; give at least {}, or 0 for no padding",
        side, dataset.height, dataset.width, dataset.name,
        std::max(dataset.height, dataset.width)));
  }
  const std::int64_t top = (side - dataset.height) / 2, left = (side - dataset.width) / 2;
  const at::Tensor padded =
      at::zeros({dataset.inputs.size(0), dataset.channels, side, side}, at::kByte);
  padded.narrow(2, top, dataset.height)
      .narrow(3, left, dataset.width)
      .copy_(dataset.inputs.view({-1, dataset.channels, dataset.height, dataset.width}));
  dataset.inputs = padded.view({dataset.inputs.size(0), dataset.channels * side * side});
  dataset.features = dataset.channels * side * side;
  dataset.height = dataset.width = side;
}

}  // namespace tandem
