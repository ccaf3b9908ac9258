// The score is |w G|, with G the dense gradient of this step: the first-order change of the loss if
// the weight went (Molchanov et al. 2017, arXiv 1611.06440).
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion saliency_criterion() {
  Criterion criterion;
  criterion.name = "saliency";
  criterion.needs_gradient = true;
  criterion.score = [](const ScoreInputs& inputs) -> at::Tensor {
    return (inputs.weight * inputs.gradient).abs();
  };
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "saliency",
                                    .summary = "magnitude of weight times gradient",
                                    .cite = "arXiv:1611.06440",
                                    .file = __FILE__},
                                   saliency_criterion());

}  // namespace
}  // namespace tandem
