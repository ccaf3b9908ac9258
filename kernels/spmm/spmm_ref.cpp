// The sparse layer in plain loops. Columns beyond the batch are written as zeros.
#include <algorithm>

#include "kernels/spmm/spmm.h"

namespace tandem::kernels {

void spmm_forward_ref(const std::int64_t* positions, std::int64_t nnz, std::int64_t /*inputs*/,
                      std::int64_t outputs, const double* values, const double* bias,
                      const double* x, std::int64_t stride, std::int64_t batch, bool relu,
                      double* y) {
  std::fill_n(y, outputs * stride, 0.0);
  for (std::int64_t o = 0; o < outputs && bias != nullptr; ++o) {
    std::fill_n(y + o * stride, batch, bias[o]);
  }
  for (std::int64_t e = 0; e < nnz; ++e) {
    const double* from = x + positions[e] / outputs * stride;
    double* to = y + positions[e] % outputs * stride;
    for (std::int64_t b = 0; b < batch; ++b) to[b] += values[e] * from[b];
  }
  for (std::int64_t n = 0; relu && n < outputs * stride; ++n) y[n] = y[n] <= 0 ? 0 : y[n];
}

void spmm_backward_ref(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                       std::int64_t outputs, const double* values, const double* x,
                       const double* dy, std::int64_t stride, std::int64_t batch, bool relu_input,
                       double* dx, double* dvalues) {
  if (dx != nullptr) std::fill_n(dx, inputs * stride, 0.0);
  for (std::int64_t e = 0; e < nnz; ++e) {
    const std::int64_t i = positions[e] / outputs;
    const double* above = dy + positions[e] % outputs * stride;
    dvalues[e] = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      dvalues[e] += x[i * stride + b] * above[b];
      if (dx != nullptr) dx[i * stride + b] += values[e] * above[b];
    }
  }
  for (std::int64_t i = 0; relu_input && dx != nullptr && i < inputs; ++i) {
    for (std::int64_t b = i * stride; b < i * stride + batch; ++b) dx[b] = x[b] <= 0 ? 0 : dx[b];
  }
}

}  // namespace tandem::kernels
