#include "train/step_tables.h"

#include <algorithm>

#include "data/tensor.h"

namespace tandem {

StepTables::StepTables(std::int64_t most, std::int64_t replicas, std::int64_t width,
                       std::int64_t filler, at::Device device, at::ScalarType dtype)
    : most_(most),
      replicas_(replicas),
      width_(width),
      filler_(filler),
      device_(device),
      dtype_(dtype) {
  if (!device.is_cuda()) return;
  const auto on_device = torch::device(device);
  numbers_ =
      torch::empty({most, replicas, kernels::kStepNumbers}, on_device.dtype(torch::kFloat64));
  examples_ = torch::empty({most, replicas, width}, on_device.dtype(torch::kInt64));
  weight_ = torch::empty({most, replicas, width}, on_device.dtype(dtype));
  counter_ = torch::zeros({1}, on_device.dtype(torch::kInt64));
}

void StepTables::begin(std::int64_t steps) {
  TORCH_INTERNAL_ASSERT(steps >= 1 && steps <= most_, steps, " steps in tables of ", most_);
  const auto host = torch::TensorOptions().pinned_memory(device_.is_cuda());
  // Fresh memory each time: the last tables may still be on their way to the device.
  host_numbers_ =
      torch::empty({steps, replicas_, kernels::kStepNumbers}, host.dtype(torch::kFloat64));
  host_examples_ = torch::empty({steps, replicas_, width_}, host.dtype(torch::kInt64));
  host_weight_ = torch::empty({steps, replicas_, width_}, host.dtype(dtype_));
  host_examples_.fill_(filler_);
  host_weight_.fill_(1);
  auto* rows = reinterpret_cast<kernels::StepNumbers*>(host_numbers_.data_ptr<double>());
  std::fill(rows, rows + steps * replicas_, kernels::StepNumbers{});
  padded_ = false;
}

kernels::StepNumbers& StepTables::numbers(std::int64_t step, std::int64_t r) {
  return reinterpret_cast<kernels::StepNumbers*>(
      host_numbers_.data_ptr<double>())[step * replicas_ + r];
}

void StepTables::set_examples(std::int64_t step, std::int64_t r,
                              const std::vector<std::int64_t>& own) {
  const auto count = static_cast<std::int64_t>(own.size());
  TORCH_INTERNAL_ASSERT(count <= width_, count, " examples in a batch of ", width_);
  auto* out = host_examples_.data_ptr<std::int64_t>() + (step * replicas_ + r) * width_;
  for (std::int64_t i = 0; i < width_ && count > 0; ++i) {
    out[i] = own[static_cast<std::size_t>(i % count)];
  }
  if (count == width_) return;
  host_weight_[step][r].slice(0, count).zero_();
  padded_ = true;
}

void StepTables::upload() {
  if (!device_.is_cuda()) {
    numbers_ = host_numbers_;
    examples_ = host_examples_;
    weight_ = padded_ ? host_weight_ : at::Tensor();
    position_ = 0;
    return;
  }
  const std::int64_t steps = host_numbers_.size(0);
  numbers_.narrow(0, 0, steps).copy_(host_numbers_, /*non_blocking=*/true);
  examples_.narrow(0, 0, steps).copy_(host_examples_, /*non_blocking=*/true);
  weight_.narrow(0, 0, steps).copy_(host_weight_, /*non_blocking=*/true);
  counter_.zero_();
}

StepRows StepTables::current() const {
  if (!device_.is_cuda()) {
    return {numbers_[position_], examples_[position_],
            weight_.defined() ? weight_[position_] : at::Tensor()};
  }
  const auto row = [this](const at::Tensor& table) {
    return table.index_select(0, counter_).squeeze(0);
  };
  return {row(numbers_), row(examples_), row(weight_)};
}

void StepTables::next() {
  if (device_.is_cuda()) {
    counter_.add_(1);
  } else {
    ++position_;
  }
}

}  // namespace tandem
