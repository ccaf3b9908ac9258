#include "data/stored_tensor.h"

#include <ATen/ATen.h>

#include <cstring>
#include <stdexcept>
#include <utility>

namespace tandem {
namespace {

constexpr std::pair<DType, at::ScalarType> kStoredTypes[] = {
    {DType::kF32, at::kFloat}, {DType::kF64, at::kDouble},   {DType::kI64, at::kLong},
    {DType::kI32, at::kInt},   {DType::kU8, at::kByte},      {DType::kBool, at::kBool},
    {DType::kF16, at::kHalf},  {DType::kBF16, at::kBFloat16}};

DType stored_type(at::ScalarType type, const std::string& name) {
  for (const auto& [stored, native] : kStoredTypes) {
    if (native == type) return stored;
  }
  throw std::logic_error("tensor " + name +
                         " has a type that safetensors files don't hold: " + c10::toString(type));
}

at::ScalarType native_type(DType type) {
  for (const auto& [stored, native] : kStoredTypes) {
    if (stored == type) return native;
  }
  throw std::logic_error("a stored type without a native one");
}

}  // namespace

TensorView view_of(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu()) {
    throw std::logic_error("tensor " + name + " of a file is not contiguous on the CPU");
  }
  return {name, stored_type(tensor.scalar_type(), name), tensor.sizes().vec(),
          tensor.const_data_ptr()};
}

at::Tensor tensor_of(const TensorView& view) {
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions(native_type(view.dtype)));
  if (view.bytes() > 0) std::memcpy(tensor.mutable_data_ptr(), view.data, view.bytes());
  return tensor;
}

}  // namespace tandem
