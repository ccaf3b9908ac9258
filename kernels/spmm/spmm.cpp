// Checks the arguments, chooses the blocks and hands over to spmm_vectors.cpp.
#include "kernels/spmm/spmm.h"

#include <algorithm>
#include <numeric>

#include "kernels/spmm/spmm_calls.h"

namespace tandem::kernels {
namespace {

struct Blocks {
  std::int64_t block;  // features walked before the next ones
  bool far;            // all features at once, though their rows outgrow the cache
};

// Blocks let the features' tiles stay in a cache, but not where a row would meet too few of them at
// each visit. The constants are measured (Zen 4: 32 KB and 1 MB). Forward gains from the first
// level; backward, which uses a loaded tile twice, only from the second. Rows that are a large
// power of two apart share few sets of a cache.
Blocks choose_blocks(bool first_level, std::int64_t features, std::int64_t rows, std::int64_t nnz,
                     std::int64_t row_bytes) {
  const std::int64_t step =
      std::max(std::gcd<std::int64_t>(row_bytes, 4096), std::min(row_bytes, 2 * kTileBytes));
  const double density =
      static_cast<double>(nnz) / std::max(1.0, static_cast<double>(rows) * features);
  const auto met = [&](std::int64_t block) { return density * static_cast<double>(block); };
  if (first_level) {
    const std::int64_t least = (28 << 10) / step, most = (64 << 10) / step;
    std::int64_t block = least;
    while (block < most && met(block) < 20) ++block;
    if (block > 0 && block < features && met(block) >= 12) return {block, false};
  }
  const bool far = features * step > (1 << 20);
  const std::int64_t block = (384 << 10) / step;
  if (far && block < features && met(block) >= 32) return {block, false};
  return {std::max<std::int64_t>(features, 1), far};
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 64 == 0; }

bool good_columns(std::int64_t stride, std::int64_t batch) {
  return batch >= 1 && stride >= batch && stride % kSpmmAlign == 0;
}

// Activations [features][stride].
bool good_rows(const void* rows, std::int64_t features) {
  return features == 0 || (features > 0 && rows != nullptr && aligned(rows));
}

template <class I>
bool good_pattern(const SparsePattern<I>& p) {
  return p.inputs >= 0 && p.outputs >= 0 && p.nnz >= 0 && p.by_input != nullptr &&
         p.by_output != nullptr &&
         (p.nnz == 0 || (p.output_of != nullptr && p.input_of != nullptr));
}

}  // namespace

template <class T, class I>
int spmm_forward(const SparsePattern<I>& pattern, const T* values_by_output, const T* bias,
                 const T* x, std::int64_t stride, std::int64_t batch, bool relu, T* y) {
  if (!good_pattern(pattern) || !good_columns(stride, batch) || !good_rows(x, pattern.inputs) ||
      !good_rows(y, pattern.outputs) || (pattern.nnz > 0 && values_by_output == nullptr)) {
    return kSpmmBadArguments;
  }
  const auto [block, far] = choose_blocks(true, pattern.inputs, pattern.outputs, pattern.nnz,
                                          stride * static_cast<std::int64_t>(sizeof(T)));
  spmm_run(
      ForwardCall<T, I>{pattern, values_by_output, bias, x, stride, batch, block, far, relu, y});
  return kSpmmDone;
}

template <class T, class I>
int spmm_backward(const SparsePattern<I>& pattern, const T* values, const T* x, const T* dy,
                  std::int64_t stride, std::int64_t batch, bool relu_input, T* dx, T* dvalues) {
  if (!good_pattern(pattern) || !good_columns(stride, batch) || !good_rows(x, pattern.inputs) ||
      !good_rows(dy, pattern.outputs) || !aligned(dx) ||
      (pattern.nnz > 0 && (values == nullptr || dvalues == nullptr))) {
    return kSpmmBadArguments;
  }
  const auto [block, far] = choose_blocks(false, pattern.outputs, pattern.inputs, pattern.nnz,
                                          stride * static_cast<std::int64_t>(sizeof(T)));
  spmm_run(BackwardCall<T, I>{pattern, values, x, dy, stride, batch, block, far, relu_input, dx,
                              dvalues});
  return kSpmmDone;
}

template <class T>
int bias_gradient(const T* dy, std::int64_t outputs, std::int64_t stride, std::int64_t batch,
                  T* db) {
  if (!good_columns(stride, batch) || !good_rows(dy, outputs) || (outputs > 0 && db == nullptr)) {
    return kSpmmBadArguments;
  }
  spmm_run(BiasCall<T>{dy, outputs, stride, batch, db});
  return kSpmmDone;
}

template <class T>
int relu_backward(const T* y, std::int64_t outputs, std::int64_t stride, std::int64_t batch,
                  T* dy) {
  if (!good_columns(stride, batch) || !good_rows(y, outputs) || !good_rows(dy, outputs)) {
    return kSpmmBadArguments;
  }
  spmm_run(ReluCall<T>{y, outputs * stride, dy});
  return kSpmmDone;
}

template <class T>
int relu_bias_gradient(const T* y, const T* dy, std::int64_t outputs, std::int64_t stride,
                       std::int64_t batch, T* dz, T* db) {
  if (!good_columns(stride, batch) || !good_rows(y, outputs) || !good_rows(dy, outputs) ||
      !good_rows(dz, outputs) || (outputs > 0 && db == nullptr)) {
    return kSpmmBadArguments;
  }
  spmm_run(ReluBiasCall<T>{y, dy, outputs, stride, batch, dz, db});
  return kSpmmDone;
}

#define TANDEM_SPMM_INSTANCES(T, I)                                                               \
  template int spmm_forward(const SparsePattern<I>&, const T*, const T*, const T*, std::int64_t,  \
                            std::int64_t, bool, T*);                                              \
  template int spmm_backward(const SparsePattern<I>&, const T*, const T*, const T*, std::int64_t, \
                             std::int64_t, bool, T*, T*);
TANDEM_SPMM_INSTANCES(float, std::uint16_t)
TANDEM_SPMM_INSTANCES(float, std::uint32_t)
TANDEM_SPMM_INSTANCES(double, std::uint16_t)
TANDEM_SPMM_INSTANCES(double, std::uint32_t)
template int bias_gradient(const float*, std::int64_t, std::int64_t, std::int64_t, float*);
template int bias_gradient(const double*, std::int64_t, std::int64_t, std::int64_t, double*);
template int relu_backward(const float*, std::int64_t, std::int64_t, std::int64_t, float*);
template int relu_backward(const double*, std::int64_t, std::int64_t, std::int64_t, double*);
template int relu_bias_gradient(const float*, const float*, std::int64_t, std::int64_t,
                                std::int64_t, float*, float*);
template int relu_bias_gradient(const double*, const double*, std::int64_t, std::int64_t,
                                std::int64_t, double*, double*);

}  // namespace tandem::kernels
