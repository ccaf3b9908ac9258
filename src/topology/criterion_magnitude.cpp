// The score is |w|: the smallest are dropped, or the largest kept (Han et al. 2015).
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion magnitude_criterion() {
  Criterion criterion;
  criterion.name = "magnitude";
  criterion.score = [](const ScoreInputs& inputs) { return inputs.weight.abs(); };
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "magnitude",
                                    .summary = "absolute value of the weight",
                                    .cite = "1506.02626",
                                    .file = __FILE__},
                                   magnitude_criterion());

}  // namespace
}  // namespace tandem
