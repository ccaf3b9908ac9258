// Examples are selected by index from the data set on the device; on a GPU images are scaled as
// they are gathered.
#include "data/gather.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cuda/plugin.h"
#include "data/example.h"
#include "data/in_dtype.h"
#include "data/packed.h"
#include "kernels/gather/gather_cuda.h"
#include "kernels/gather/gather_views.h"

namespace tandem {
namespace {

void expect_indices(const DeviceDataset& dataset, const at::Tensor& indices, Dataset::Kind kind) {
  TORCH_CHECK(dataset.kind == kind, "gather: the data set is of the other kind");
  TORCH_CHECK(indices.dim() == 2 && indices.scalar_type() == at::kLong,
              "gather: indices must be int64 [R,B], not ", indices.scalar_type(), " ",
              indices.sizes());
}

at::Tensor gather_on_gpu(const DeviceDataset& dataset, const at::Tensor& indices) {
  const std::int64_t features = dataset.inputs.size(1);
  at::Tensor x = at::empty({indices.size(0), indices.size(1), features},
                           dataset.inputs.options().dtype(dataset.dtype));
  const auto* rows = dataset.inputs.data_ptr<std::uint8_t>();
  const auto* index = indices.data_ptr<std::int64_t>();
  in_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    launch_cuda<decltype(gather_rows_cuda<T>)>("gather_rows", rows, features, index,
                                               indices.numel(), dataset.scale, dataset.shift,
                                               x.data_ptr<T>());
  });
  return x;
}

}  // namespace

DeviceDataset to_device(const Dataset& dataset, at::Device device, at::ScalarType dtype) {
  DeviceDataset moved;
  moved.kind = dataset.kind;
  moved.inputs = dataset.inputs.to(device);
  moved.dtype = dtype;
  if (dataset.asked.defined()) {
    moved.asked = dataset.asked.to(at::kLong).to(device);
    moved.answers = dataset.answers.to(at::kLong).to(device);
  }
  if (!dataset.documents.empty()) {
    moved.documents = at::tensor(dataset.documents, at::kLong).to(device);
  }
  if (dataset.labels.defined()) {
    moved.labels = dataset.labels.to(device);
    moved.scale = 1 / (255 * dataset.deviation);
    moved.shift = -dataset.mean / dataset.deviation;
  }
  return moved;
}

at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices) {
  expect_indices(dataset, indices, Dataset::Kind::kImages);
  if (dataset.inputs.is_cuda()) return gather_on_gpu(dataset, indices.contiguous());
  at::Tensor x = dataset.inputs.index_select(0, indices.reshape({-1})).to(dataset.dtype);
  x.mul_(dataset.scale);
  if (dataset.shift != 0) x.add_(dataset.shift);
  return x.view({indices.size(0), indices.size(1), dataset.inputs.size(1)});  // [R,B,F]
}

DeviceViews to_device(const std::vector<std::vector<InputView>>& views, at::Device device) {
  DeviceViews moved;
  const InputView& first = views.front().front();
  const auto pixels = static_cast<std::int64_t>(first.from.size()) / first.taps;
  std::int64_t count = 0;
  for (const auto& own : views) count += static_cast<std::int64_t>(own.size());
  moved.from = at::empty({count, pixels, first.taps}, at::kInt);
  if (!first.weight.empty()) moved.weight = at::empty({count, pixels, first.taps}, at::kFloat);
  auto* from = moved.from.data_ptr<std::int32_t>();
  for (const auto& own : views) {
    for (const InputView& view : own) from = std::copy(view.from.begin(), view.from.end(), from);
  }
  if (moved.weight.defined()) {
    auto* weight = moved.weight.data_ptr<float>();
    for (const auto& own : views) {
      for (const InputView& view : own) {
        weight = std::copy(view.weight.begin(), view.weight.end(), weight);
      }
    }
    moved.weight = moved.weight.to(device);
  }
  moved.from = moved.from.to(device);
  return moved;
}

at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices,
                         const DeviceViews& views, const at::Tensor& view) {
  expect_indices(dataset, indices, Dataset::Kind::kImages);
  const at::Tensor index = indices.contiguous(), row = view.contiguous();
  at::Tensor x = at::empty({indices.size(0), indices.size(1), dataset.inputs.size(1)},
                           dataset.inputs.options().dtype(dataset.dtype));
  ViewedRows viewed;
  viewed.rows = dataset.inputs.data_ptr<std::uint8_t>();
  viewed.index = index.data_ptr<std::int64_t>();
  viewed.view = row.data_ptr<std::int64_t>();
  viewed.from = views.from.data_ptr<std::int32_t>();
  if (views.weight.defined()) viewed.weight = views.weight.data_ptr<float>();
  viewed.features = dataset.inputs.size(1);
  viewed.taps = views.from.size(2);
  viewed.count = index.numel();
  viewed.scale = dataset.scale;
  viewed.shift = dataset.shift;
  in_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    if (x.is_cuda()) {
      launch_cuda<decltype(gather_views_cuda<T>)>("gather_views", viewed, x.data_ptr<T>());
    } else {
      gather_views<T>(viewed, x.data_ptr<T>());
    }
  });
  return x;
}

DeviceAngles to_device(const std::vector<std::shared_ptr<const ExampleAngles>>& angles,
                       at::Device device) {
  const ExampleAngles& first = *angles.front();
  const auto runs = static_cast<std::int64_t>(angles.size());
  DeviceAngles moved;
  moved.number = at::empty({runs, static_cast<std::int64_t>(first.number.size())}, at::kInt);
  auto* number = moved.number.data_ptr<std::int32_t>();
  for (const auto& own : angles) {
    number = std::copy(own->number.begin(), own->number.end(), number);
  }
  const std::vector<double> degrees = degrees_of(first.arcs);
  moved.turn = at::empty({static_cast<std::int64_t>(degrees.size()), 2}, at::kDouble);
  auto* turn = moved.turn.data_ptr<double>();
  for (const double each : degrees) {
    const double angle = each * std::numbers::pi / 180;
    *turn++ = std::cos(angle);
    *turn++ = std::sin(angle);
  }
  moved.number = moved.number.to(device);
  moved.turn = moved.turn.to(device);
  return moved;
}

at::Tensor gather_images(const DeviceDataset& dataset, const at::Tensor& indices,
                         const DeviceAngles& angles) {
  expect_indices(dataset, indices, Dataset::Kind::kImages);
  const at::Tensor index = indices.contiguous(), angle = angles.number.gather(1, index);
  const std::int64_t features = dataset.inputs.size(1);
  at::Tensor x = at::empty({indices.size(0), indices.size(1), features},
                           dataset.inputs.options().dtype(dataset.dtype));
  TurnedRows turned;
  turned.rows = dataset.inputs.data_ptr<std::uint8_t>();
  turned.index = index.data_ptr<std::int64_t>();
  turned.angle = angle.data_ptr<std::int32_t>();
  turned.turn = angles.turn.data_ptr<double>();
  turned.side = std::llround(std::sqrt(static_cast<double>(features)));
  turned.count = index.numel();
  turned.scale = dataset.scale;
  turned.shift = dataset.shift;
  TORCH_CHECK(turned.side * turned.side == features, "gather: images of ", features,
              " pixels are not square");
  in_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    if (x.is_cuda()) {
      launch_cuda<decltype(gather_turned_cuda<T>)>("gather_turned", turned, x.data_ptr<T>());
    } else {
      gather_turned<T>(turned, x.data_ptr<T>());
    }
  });
  return x;
}

at::Tensor gather_labels(const DeviceDataset& dataset, const at::Tensor& indices) {
  expect_indices(dataset, indices, Dataset::Kind::kImages);
  return dataset.labels.index_select(0, indices.reshape({-1})).view(indices.sizes());
}

namespace {

// Of the windows' bytes and the one behind each, int64 [R,B,T+1].
at::Tensor places_of_windows(const at::Tensor& starts, std::int64_t context) {
  const at::Tensor span = at::arange(context + 1, starts.options());
  return starts.bitwise_and(kSourceMask).unsqueeze(-1) + span;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> gather_windows(const DeviceDataset& dataset,
                                                 const at::Tensor& starts, std::int64_t context) {
  expect_indices(dataset, starts, Dataset::Kind::kBytes);
  const at::Tensor positions = places_of_windows(starts, context);
  const at::Tensor bytes =
      dataset.inputs.index_select(0, positions.view({-1})).to(at::kLong).view(positions.sizes());
  return {bytes.narrow(-1, 0, context).contiguous(), bytes.narrow(-1, 1, context).contiguous()};
}

PackedWindows gather_packed(const DeviceDataset& dataset, const at::Tensor& starts,
                            std::int64_t context) {
  const auto [tokens, target] = gather_windows(dataset, starts, context);
  const at::Tensor positions = places_of_windows(starts, context);
  const at::Tensor document = at::searchsorted(dataset.documents, positions, /*out_int32=*/false,
                                               /*right=*/true) -
                              1;  // [R,B,T+1]
  const at::Tensor mine = document.narrow(-1, 0, context);
  const at::Tensor begin =
      dataset.documents.index_select(0, mine.reshape({-1})).view(mine.sizes()) -
      positions.narrow(-1, 0, 1);
  return {packed(tokens, begin.clamp_min(0)), target, mine.eq(document.narrow(-1, 1, context))};
}

AskedSequences gather_sequences(const DeviceDataset& dataset, const at::Tensor& indices) {
  return gather_sequences(dataset, indices, {}, {});
}

AskedSequences gather_sequences(const DeviceDataset& dataset, const at::Tensor& indices,
                                const at::Tensor& tokens, const at::Tensor& table) {
  expect_indices(dataset, indices, Dataset::Kind::kSequences);
  const at::Tensor index = indices.bitwise_and(kSourceMask).view({-1});
  const auto rows = [&](const at::Tensor& of) {
    return of.index_select(0, index).to(at::kLong).view({indices.size(0), indices.size(1), -1});
  };
  const auto written = [&](const at::Tensor& own) {
    if (!tokens.defined()) return own;
    const at::Tensor cells = own + (table * tokens.size(1)).unsqueeze(-1);
    return tokens.view({-1}).index_select(0, cells.view({-1})).view(own.sizes());
  };
  AskedSequences gathered;
  gathered.x = written(rows(dataset.inputs));
  gathered.asked = rows(dataset.asked);
  gathered.target =
      at::zeros_like(gathered.x).scatter_(-1, gathered.asked, written(rows(dataset.answers)));
  return gathered;
}

at::Tensor asked_rows(const at::Tensor& rows, const at::Tensor& asked) {
  if (!asked.defined()) return rows;
  std::vector<std::int64_t> sizes = rows.sizes().vec();
  sizes[1] = asked.size(1);
  at::Tensor index = asked;
  while (index.dim() < rows.dim()) index = index.unsqueeze(-1);
  return rows.gather(1, index.expand(sizes));
}

}  // namespace tandem
