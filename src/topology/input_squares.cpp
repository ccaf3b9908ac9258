#include "topology/input_squares.h"

#include "data/tensor.h"

namespace tandem {

// The values are written in place, so that captured steps of every kind write where the reader
// looks.
void InputSquares::note(const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  const at::Tensor squares = x.detach().square().mean(1);
  if (!values_.defined()) values_ = torch::empty_like(squares);
  if (expected_ > 1) {
    values_.add_((squares - values_) / static_cast<double>(expected_));
  } else {
    values_.copy_(squares);
  }
}

}  // namespace tandem
