#include "topology/batched_product.h"

#include "data/tensor.h"

namespace tandem {

at::Tensor batched_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  const bool one_row = x.is_cpu() && x.size(1) == 1, one_output = x.is_cpu() && w.size(2) == 1;
  if (!one_row && !one_output) {
    return bias.defined() ? torch::baddbmm(bias.unsqueeze(1), x, w) : torch::bmm(x, w);
  }
  const at::Tensor rows = one_row ? torch::constant_pad_nd(x, {0, 0, 0, 1}) : x;
  const at::Tensor outputs = one_output ? torch::constant_pad_nd(w, {0, 1}) : w;
  at::Tensor y = torch::bmm(rows, outputs).narrow(1, 0, x.size(1)).narrow(2, 0, w.size(2));
  return bias.defined() ? y + bias.unsqueeze(1) : y.contiguous();
}

}  // namespace tandem
