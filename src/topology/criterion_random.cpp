// This chooses k of n at random, without scores; see random_ranks.h.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion random_criterion() {
  Criterion criterion;
  criterion.name = "random";
  criterion.random = true;
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "random",
                                    .summary = "uniformly at random",
                                    .cite = "",
                                    .file = __FILE__},
                                   random_criterion());

}  // namespace
}  // namespace tandem
