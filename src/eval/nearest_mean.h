// A read-out by the nearest mean (iCaRL, arXiv 1611.07725): an example is of the class whose mean
// of features is nearest to its own, both divided by their norms. Features are the last hidden ones
// in the read-out's own streams and budgets, those of the exemplars too.
#pragma once

#include <ATen/core/Tensor.h>

#include "train/trainer.h"

namespace tandem {

class NearestMean {
 public:
  // Means of what the trainer's exemplars give in a forward pass with this context.
  NearestMean(Trainer& trainer, const Context& context);

  // Minus the squared distances of a batch's features to the means, [R,N,C]: from -4 to 0; of an
  // output without exemplars less than any of these.
  at::Tensor scores(Trainer& trainer, const at::Tensor& x, const Context& context) const;
  // Weights of a linear layer, on the CPU, that gives the largest output where the mean is nearest:
  // the means of replica r, [H,C]. Its bias is zero.
  at::Tensor weights(std::int64_t r) const;

 private:
  at::Tensor means_;  // [R,H,C]
  at::Tensor known_;  // bool [R,1,C]
};

}  // namespace tandem
