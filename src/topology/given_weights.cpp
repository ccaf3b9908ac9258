#include "topology/given_weights.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tandem {
namespace {

template <class T>
double entry(const TensorView& tensor, std::int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(tensor.data) + i * std::int64_t{sizeof(T)},
              sizeof(T));
  return static_cast<double>(value);
}

}  // namespace

double floating_value(const TensorView& tensor, std::int64_t i) {
  switch (tensor.dtype) {
    case DType::kF32:
      return entry<float>(tensor, i);
    case DType::kF64:
      return entry<double>(tensor, i);
    case DType::kF16:
      return entry<c10::Half>(tensor, i);
    case DType::kBF16:
      return entry<c10::BFloat16>(tensor, i);
    default:
      throw std::logic_error(tensor.name + " is no tensor of floating-point numbers");
  }
}

bool is_floating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

GivenWeights::GivenWeights(TensorView values, std::int64_t inputs, std::int64_t outputs,
                           bool turned, std::shared_ptr<const void> owner)
    : values_(std::move(values)),
      inputs_(inputs),
      outputs_(outputs),
      turned_(turned),
      owner_(std::move(owner)) {}

GivenWeights::GivenWeights(TensorView values, std::vector<std::int64_t> positions,
                           std::vector<std::int64_t> places, std::shared_ptr<const void> owner)
    : values_(std::move(values)),
      listed_(true),
      positions_(std::move(positions)),
      places_(std::move(places)),
      owner_(std::move(owner)) {}

double GivenWeights::at(std::int64_t position) const {
  if (listed_) {
    const auto found = std::lower_bound(positions_.begin(), positions_.end(), position);
    if (found == positions_.end() || *found != position) return 0;
    return floating_value(values_, places_[static_cast<std::size_t>(found - positions_.begin())]);
  }
  if (!turned_) return floating_value(values_, position);
  return floating_value(values_, position % outputs_ * inputs_ + position / outputs_);
}

}  // namespace tandem
