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
  counter_ = torch::zeros({1}, on_device.dtype(torch::kInt64));
}

void StepTables::begin(std::int64_t steps) {
  TORCH_INTERNAL_ASSERT(steps >= 1 && steps <= most_, steps, " steps in tables of ", most_);
  padded_ = false;
  if (!device_.is_cuda() && host_numbers_.defined()) return;
  const auto host = torch::TensorOptions().pinned_memory(device_.is_cuda());
  // Fresh memory each time: the last tables may still be on their way to the device.
  host_numbers_ =
      torch::empty({steps, replicas_, kernels::kStepNumbers}, host.dtype(torch::kFloat64));
  host_examples_ = torch::empty({steps, replicas_, width_}, host.dtype(torch::kInt64));
}

kernels::StepNumbers& StepTables::numbers(std::int64_t step, std::int64_t r) {
  return reinterpret_cast<kernels::StepNumbers*>(
      host_numbers_.data_ptr<double>())[step * replicas_ + r];
}

void StepTables::set_examples(std::int64_t step, std::int64_t r,
                              const std::vector<std::int64_t>& own) {
  const auto count = static_cast<std::int64_t>(own.size());
  TORCH_INTERNAL_ASSERT(count <= width_, count, " examples in a batch of ", width_);
  const std::int64_t row = step * replicas_ + r;
  auto* out = host_examples_.data_ptr<std::int64_t>() + row * width_;
  std::copy(own.begin(), own.end(), out);
  for (std::int64_t i = count; i < width_; ++i) out[i] = count > 0 ? out[i - count] : filler_;
  numbers(step, r).examples = static_cast<double>(count);
  padded_ = padded_ || count < width_;
}

void StepTables::upload() {
  if (!device_.is_cuda()) {
    numbers_ = host_numbers_;
    examples_ = host_examples_;
    position_ = 0;
    return;
  }
  const std::int64_t steps = host_numbers_.size(0);
  numbers_.narrow(0, 0, steps).copy_(host_numbers_, /*non_blocking=*/true);
  examples_.narrow(0, 0, steps).copy_(host_examples_, /*non_blocking=*/true);
  counter_.zero_();
}

// On a GPU every batch is weighted, so that a padded one is no kind of its own.
StepRows StepTables::current() const {
  StepRows rows;
  if (device_.is_cuda()) {
    rows.numbers = numbers_.index_select(0, counter_).squeeze(0);
    rows.examples = examples_.index_select(0, counter_).squeeze(0);
  } else {
    rows.numbers = numbers_[position_];
    rows.examples = examples_[position_];
    if (!padded_) return rows;
  }
  const at::Tensor place = torch::arange(width_, rows.numbers.options());
  const at::Tensor count = rows.column(TANDEM_COLUMN(kernels::StepNumbers, examples));
  rows.weight = place.unsqueeze(0).lt(count.unsqueeze(1)).to(dtype_);
  return rows;
}

void StepTables::next() {
  if (device_.is_cuda()) {
    counter_.add_(1);
  } else {
    ++position_;
  }
}

}  // namespace tandem
