// Tensors as safetensors files hold them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/safetensors.h"

namespace tandem {

// The tensor's bytes under a name, for a safetensors file; it must outlive the view. Contiguous, on
// the CPU; std::logic_error where it is not, or has a type that the format has not.
TensorView view_of(const std::string& name, const at::Tensor& tensor);
// A copy on the CPU.
at::Tensor tensor_of(const TensorView& view);

}  // namespace tandem
