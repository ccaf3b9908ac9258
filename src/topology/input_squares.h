// This keeps the mean squares of a layer's inputs, for criteria that read them: those of one
// product, or means over the products of several batches.
//
// Shapes: R replicas (runs of the group), N rows of a product, in the layer's inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tandem {

class InputSquares {
 public:
  // After one call with true each product's inputs take the place of those before. After another
  // call with true the next product joins the mean over the products since the first call. A call
  // with false ends it.
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
