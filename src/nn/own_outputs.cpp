#include "nn/own_outputs.h"

#include <limits>

#include "data/tensor.h"

namespace tandem {

at::Tensor own_outputs(const at::Tensor& logits, const at::Tensor& allowed) {
  return allowed.defined() ? logits.masked_fill(allowed.logical_not(), 0) : logits;
}

at::Tensor log_shares(const at::Tensor& logits, const at::Tensor& allowed) {
  if (!allowed.defined()) return torch::log_softmax(logits, -1);
  const at::Tensor others = allowed.logical_not();
  const at::Tensor seen = logits.masked_fill(others, -std::numeric_limits<double>::infinity());
  return torch::log_softmax(seen, -1).masked_fill(others, 0);
}

}  // namespace tandem
