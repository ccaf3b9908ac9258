// This is SET's rule (Mocanu et al. 2018): the share goes separately for the negative weights
// nearest zero and for the positive ones nearest zero, so that the balance of signs survives. A
// weight of exactly zero counts as positive, and is the first of these to go.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion set_signed_criterion() {
  Criterion criterion;
  criterion.name = "set_signed";
  criterion.per_sign = true;
  criterion.score = [](const ScoreInputs& inputs) { return inputs.weight.abs(); };
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "set_signed",
                                    .summary = "positives and negatives nearest zero, separately",
                                    .cite = "1707.04780",
                                    .file = __FILE__},
                                   set_signed_criterion());

}  // namespace
}  // namespace tandem
