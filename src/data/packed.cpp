#include "data/packed.h"

#include <ATen/ATen.h>

namespace tandem {

at::Tensor packed(const at::Tensor& tokens, const at::Tensor& starts) {
  return tokens.bitwise_or(starts.bitwise_left_shift(kTokenBits));
}

at::Tensor unpacked_tokens(const at::Tensor& x) { return x.bitwise_and((1 << kTokenBits) - 1); }

at::Tensor document_starts(const at::Tensor& x) { return x.bitwise_right_shift(kTokenBits); }

}  // namespace tandem
