// Mean squares of a layer's inputs, for criteria that read them: of one product, or means over the
// products of several batches.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

class InputSquares {
 public:
  // Said once, each product's inputs take the place of those before. Said again, those of the next
  // product join the mean over the products that it was said for. Until it is said with false.
  void expect(bool expected) { expected_ = expected ? expected_ + 1 : 0; }
  bool expected() const { return expected_ > 0; }
  void note(const at::Tensor& x);  // [R,N,in]

  bool known() const { return values_.defined(); }
  const at::Tensor& values() const { return values_; }  // [R,in]

 private:
  std::int64_t expected_ = 0;
  at::Tensor values_;
};

}  // namespace tandem
