// This runs a template for the type of a tensor's elements: run(T{}) with T float or double, which
// are the only types of weights and activations.
#pragma once

#include "data/tensor.h"

namespace tandem {

template <class Run>
void in_dtype(const at::Tensor& values, const Run& run) {
  if (values.scalar_type() == torch::kFloat32) {
    run(0.0f);
  } else {
    TORCH_INTERNAL_ASSERT(values.scalar_type() == torch::kFloat64, "values of type ",
                          values.scalar_type());
    run(0.0);
  }
}

}  // namespace tandem
