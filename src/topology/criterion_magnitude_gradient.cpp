// The score is |w| + lambda |G|, with G the dense gradient of this step: MEST drops where it is
// least (Yuan et al. 2021, arXiv 2110.14032). The operation's parameter is lambda.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion magnitude_gradient_criterion() {
  Criterion criterion;
  criterion.name = "magnitude_gradient";
  criterion.needs_gradient = true;
  criterion.score = [](const ScoreInputs& inputs) -> at::Tensor {
    return inputs.weight.abs() + inputs.gradient.abs() * inputs.parameter;
  };
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "magnitude_gradient",
                                    .summary = "magnitude plus lambda times the gradient's",
                                    .cite = "arXiv:2110.14032",
                                    .file = __FILE__},
                                   magnitude_gradient_criterion());

}  // namespace
}  // namespace tandem
