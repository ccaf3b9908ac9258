// The score is |G|, with G the dense gradient of the sparse network in this step; growth takes the
// largest (RigL, Evci et al. 2020). A weight that is not stored still has a gradient.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion gradient_criterion() {
  Criterion criterion;
  criterion.name = "gradient";
  criterion.needs_gradient = true;
  criterion.score = [](const ScoreInputs& inputs) { return inputs.gradient.abs(); };
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "gradient",
                                    .summary = "absolute value of the dense gradient",
                                    .cite = "1911.11134",
                                    .file = __FILE__},
                                   gradient_criterion());

}  // namespace
}  // namespace tandem
