// This grows at random among positions that have never been active, then, where these are
// exhausted, at random among the others, so that each growth adds as much as it can to the share of
// positions ever active (ITOP's random_unfired; Liu et al. 2021, arXiv 2102.02887). The slot
// `fired` is 1 where a position has been active, and no update empties it.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

constexpr const char* kSlot = "fired";

at::Tensor score(const ScoreInputs& inputs) {
  return inputs.uniform + inputs.slots.at(kSlot).eq(0);
}

void after_update(const at::Tensor& active, std::map<std::string, at::Tensor>& slots) {
  slots.at(kSlot).masked_fill_(active.ne(0), 1);
}

Criterion random_unfired_criterion() {
  Criterion criterion;
  criterion.name = "random_unfired";
  criterion.slots = {kSlot};
  criterion.everywhere = true;
  criterion.needs_uniform = true;
  criterion.score = score;
  criterion.after_update = after_update;
  return criterion;
}

TANDEM_REGISTERED = criteria().add({.kind = "criterion",
                                    .name = "random_unfired",
                                    .summary = "at random, what was never active first",
                                    .cite = "arXiv:2102.02887",
                                    .file = __FILE__},
                                   random_unfired_criterion());

}  // namespace
}  // namespace tandem
