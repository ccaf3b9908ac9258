// Sparse kernels read activations feature by feature: a tensor [R,N,F] whose columns (the batch)
// are adjacent in memory, with strides (F S, 1, S) and S the least multiple of kSpmmAlign that N
// fits in. Elementwise operations keep such strides where N is such a multiple, so that between
// sparse layers nothing is transposed.
//
// Shapes: R replicas (runs of the group), N rows (the batch), F features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

// Makes a new tensor of this kind, which is not filled.
at::Tensor empty_features(std::int64_t replicas, std::int64_t batch, std::int64_t features,
                          const at::TensorOptions& options);
bool is_feature_major(const at::Tensor& x);
// Returns x [R,N,F] itself where it is feature-major already, and a copy elsewhere.
at::Tensor feature_major(const at::Tensor& x);

// Returns S of a feature-major tensor, which its strides don't tell where there is one feature
// only.
std::int64_t feature_stride(const at::Tensor& x);

}  // namespace tandem
