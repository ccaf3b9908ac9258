// Activations as the sparse kernels read them: a tensor [R,N,F] whose columns (the batch) are
// adjacent in memory, strides (F S, 1, S), with S the least multiple of kSpmmAlign that N fits in.
// Elementwise operations keep such strides where N is such a multiple, so that between sparse
// layers nothing is transposed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

// A new one, not filled.
at::Tensor empty_features(std::int64_t replicas, std::int64_t batch, std::int64_t features,
                          const at::TensorOptions& options);
bool is_feature_major(const at::Tensor& x);
// x [R,N,F] itself where it is one already, else a copy.
at::Tensor feature_major(const at::Tensor& x);

// S of a feature-major tensor; where there is one feature only, its strides don't tell.
std::int64_t feature_stride(const at::Tensor& x);

}  // namespace tandem
