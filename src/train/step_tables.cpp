#include "train/step_tables.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "data/tensor.h"

namespace tandem {

std::int64_t TableLayout::width() const {
  return std::accumulate(roles.begin(), roles.end(), std::int64_t{0});
}

std::int64_t TableLayout::first(std::size_t role) const {
  return std::accumulate(roles.begin(), roles.begin() + static_cast<std::ptrdiff_t>(role),
                         std::int64_t{0});
}

StepTables::StepTables(std::int64_t most, std::int64_t replicas, TableLayout layout,
                       std::int64_t filler, at::Device device, at::ScalarType dtype)
    : most_(most),
      replicas_(replicas),
      layout_(std::move(layout)),
      width_(layout_.width()),
      filler_(filler),
      device_(device),
      dtype_(dtype) {
  if (!device.is_cuda()) return;
  const auto on_device = torch::device(device);
  numbers_ =
      torch::empty({most, replicas, kernels::kStepNumbers}, on_device.dtype(torch::kFloat64));
  examples_ = torch::empty({most, replicas, width_}, on_device.dtype(torch::kInt64));
  if (layout_.apart) mean_ = torch::empty({most, replicas, width_}, on_device.dtype(dtype));
  if (layout_.places) {
    places_ = torch::empty({most, replicas, 2 * width_}, on_device.dtype(torch::kInt64));
  }
  if (layout_.numbers > 0) {
    strategy_ = torch::empty({most, replicas, layout_.numbers}, on_device.dtype(torch::kFloat64));
  }
  counter_ = torch::zeros({1}, on_device.dtype(torch::kInt64));
}

void StepTables::begin(std::int64_t steps) {
  TORCH_INTERNAL_ASSERT(steps >= 1 && steps <= most_, steps, " steps in tables of ", most_);
  padded_ = false;
  const auto host = torch::TensorOptions().pinned_memory(device_.is_cuda());
  if (layout_.numbers > 0) {
    host_strategy_ = torch::zeros({steps, replicas_, layout_.numbers}, host.dtype(torch::kFloat64));
  }
  if (!device_.is_cuda() && host_numbers_.defined()) return;
  // Fresh memory each time: the last tables may still be on their way to the device.
  host_numbers_ =
      torch::empty({steps, replicas_, kernels::kStepNumbers}, host.dtype(torch::kFloat64));
  host_examples_ = torch::empty({steps, replicas_, width_}, host.dtype(torch::kInt64));
  if (layout_.apart) {
    host_mean_ = torch::empty({steps, replicas_, width_}, host.dtype(dtype_));
  }
  if (layout_.places) {
    host_places_ = torch::empty({steps, replicas_, 2 * width_}, host.dtype(torch::kInt64));
  }
}

kernels::StepNumbers& StepTables::numbers(std::int64_t step, std::int64_t r) {
  return reinterpret_cast<kernels::StepNumbers*>(
      host_numbers_.data_ptr<double>())[step * replicas_ + r];
}

double* StepTables::of_strategy(std::int64_t step, std::int64_t r) {
  return host_strategy_.data_ptr<double>() + (step * replicas_ + r) * layout_.numbers;
}

void StepTables::set_rows(std::int64_t step, std::int64_t r,
                          const std::vector<std::vector<BatchRow>>& own) {
  const std::int64_t row = step * replicas_ + r;
  std::int64_t count = 0;
  for (const auto& role : own) count += static_cast<std::int64_t>(role.size());
  TORCH_INTERNAL_ASSERT(count <= width_, count, " examples in a batch of ", width_);
  numbers(step, r).examples = static_cast<double>(count);
  if (layout_.apart) return fill_apart(row, own);
  auto* out = host_examples_.data_ptr<std::int64_t>() + row * width_;
  std::int64_t at = 0;
  for (const auto& role : own) {
    for (const BatchRow& each : role) out[at++] = each.example;
  }
  for (; at < width_; ++at) out[at] = count > 0 ? out[at - count] : filler_;
  if (count < width_) padded_ = true;
}

// A role without rows is padded with the current examples.
void StepTables::fill_apart(std::int64_t row, const std::vector<std::vector<BatchRow>>& own) {
  auto* out = host_examples_.data_ptr<std::int64_t>() + row * width_;
  const auto put_mean = [&](std::int64_t column, double value) {
    const std::int64_t cell = row * width_ + column;
    if (dtype_ == torch::kFloat64) {
      host_mean_.data_ptr<double>()[cell] = value;
    } else {
      host_mean_.data_ptr<float>()[cell] = static_cast<float>(value);
    }
  };
  std::int64_t at = 0;
  for (std::size_t role = 0; role < layout_.roles.size(); ++role) {
    const std::vector<BatchRow> none;
    const std::vector<BatchRow>& rows = role < own.size() ? own[role] : none;
    const std::vector<BatchRow>& repeated = rows.empty() && !own.empty() ? own.front() : rows;
    const std::int64_t end = at + layout_.roles[role];
    TORCH_INTERNAL_ASSERT(at + static_cast<std::int64_t>(rows.size()) <= end, rows.size(),
                          " rows of role ", role);
    for (std::size_t i = 0; at < end; ++at, ++i) {
      const bool counts = i < rows.size();
      out[at] = repeated.empty() ? filler_ : repeated[i % repeated.size()].example;
      put_mean(at, counts ? 1 / static_cast<double>(rows.size()) : 0);
      if (!layout_.places) continue;
      auto* places = host_places_.data_ptr<std::int64_t>() + 2 * row * width_;
      places[at] = counts ? rows[i].place : -1;
      places[width_ + at] = counts ? rows[i].enters : -1;
    }
  }
}

void StepTables::upload() {
  if (!device_.is_cuda()) {
    numbers_ = host_numbers_;
    examples_ = host_examples_;
    mean_ = host_mean_;
    places_ = host_places_;
    strategy_ = host_strategy_;
    position_ = 0;
    return;
  }
  const std::int64_t steps = host_numbers_.size(0);
  numbers_.narrow(0, 0, steps).copy_(host_numbers_, /*non_blocking=*/true);
  examples_.narrow(0, 0, steps).copy_(host_examples_, /*non_blocking=*/true);
  if (layout_.places) places_.narrow(0, 0, steps).copy_(host_places_, /*non_blocking=*/true);
  if (layout_.apart) mean_.narrow(0, 0, steps).copy_(host_mean_, /*non_blocking=*/true);
  if (layout_.numbers > 0) {
    strategy_.narrow(0, 0, steps).copy_(host_strategy_, /*non_blocking=*/true);
  }
  counter_.zero_();
}

// On a GPU every batch is weighted, so that a padded one is no kind of its own.
StepRows StepTables::current() const {
  StepRows rows;
  const auto now = [this](const at::Tensor& table) {
    return device_.is_cuda() ? table.index_select(0, counter_).squeeze(0) : table[position_];
  };
  rows.numbers = now(numbers_);
  rows.examples = now(examples_);
  if (layout_.numbers > 0) rows.strategy = now(strategy_);
  if (layout_.places) {
    const at::Tensor both = now(places_);
    rows.place = both.narrow(1, 0, width_);
    rows.enters = both.narrow(1, width_, width_);
  }
  if (layout_.apart) {
    rows.mean = now(mean_);
    return rows;
  }
  if (!device_.is_cuda() && !padded_) return rows;
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
