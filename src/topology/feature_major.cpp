#include "topology/feature_major.h"

#include "data/tensor.h"
#include "kernels/spmm/spmm.h"

namespace tandem {
namespace {

std::int64_t padded(std::int64_t batch) {
  return (batch + kernels::kSpmmAlign - 1) / kernels::kSpmmAlign * kernels::kSpmmAlign;
}

template <class T>
void transpose_rows(const at::Tensor& x, at::Tensor& y) {  // x [R,N,F], rows adjacent
  const std::int64_t stride = feature_stride(y);
  for (std::int64_t r = 0; r < x.size(0); ++r) {
    const int error =
        kernels::to_features<T>(x.data_ptr<T>() + r * x.stride(0), x.size(1), x.size(2),
                                x.stride(1), stride, y.data_ptr<T>() + r * y.stride(0));
    TORCH_INTERNAL_ASSERT(error == kernels::kSpmmDone, "transposing ", x.sizes());
  }
}

}  // namespace

at::Tensor empty_features(std::int64_t replicas, std::int64_t batch, std::int64_t features,
                          const at::TensorOptions& options) {
  const std::int64_t stride = padded(batch);
  const at::Tensor room = torch::empty({replicas * features * stride}, options);
  at::Tensor x = torch::empty({0}, options);
  // This is no view of `room`, because autograd treats views differently as outputs of a function.
  x.set_(room.storage(), 0, {replicas, batch, features}, {features * stride, 1, stride});
  return x;
}

std::int64_t feature_stride(const at::Tensor& x) {
  return x.size(2) == 1 ? padded(x.size(1)) : x.stride(2);
}

bool is_feature_major(const at::Tensor& x) {
  const std::int64_t batch = x.size(1), features = x.size(2);
  if (batch < 2 || features < 2 || x.stride(1) != 1) return false;
  const std::int64_t stride = x.stride(2);
  if (stride != padded(batch)) return false;  // the kernels take one stride for all operands
  if (x.size(0) > 1 && x.stride(0) != features * stride) return false;
  const auto bytes = static_cast<std::size_t>(x.element_size());
  const auto end =
      static_cast<std::size_t>(x.storage_offset() + x.size(0) * features * stride) * bytes;
  return end <= x.storage().nbytes() && reinterpret_cast<std::uintptr_t>(x.data_ptr()) % 64 == 0;
}

at::Tensor feature_major(const at::Tensor& x) {
  if (is_feature_major(x)) return x;
  at::Tensor y = empty_features(x.size(0), x.size(1), x.size(2), x.options().requires_grad(false));
  const bool rows = x.stride(2) == 1 && x.stride(1) >= x.size(2);
  if (rows && x.scalar_type() == torch::kFloat) {
    transpose_rows<float>(x, y);
  } else if (rows && x.scalar_type() == torch::kDouble) {
    transpose_rows<double>(x, y);
  } else {
    y.copy_(x.detach());
  }
  return y;
}

}  // namespace tandem
