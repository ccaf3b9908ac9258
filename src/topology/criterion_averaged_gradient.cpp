// |A| with A <- 0.9 A + 0.1 G after each backward pass: an average of the dense gradient, as SNFS
// grows by (Dettmers & Zettlemoyer 2019). A is kept for all positions, dormant ones too, so that no
// update empties it.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

constexpr const char* kSlot = "averaged_gradient";

at::Tensor score(const ScoreInputs& inputs) { return inputs.slots.at(kSlot).abs(); }

void accumulate(const at::Tensor& gradient, std::map<std::string, at::Tensor>& slots) {
  slots.at(kSlot).mul_(0.9).add_(gradient, 0.1);
}

Criterion averaged_gradient_criterion() {
  Criterion criterion;
  criterion.name = "averaged_gradient";
  criterion.slots = {kSlot};
  criterion.everywhere = true;
  criterion.score = score;
  criterion.accumulate = accumulate;
  return criterion;
}

TANDEM_REGISTERED =
    criteria().add({.kind = "criterion",
                    .name = "averaged_gradient",
                    .summary = "magnitude of a running average of the dense gradient",
                    .cite = "arXiv:1907.04840",
                    .file = __FILE__},
                   averaged_gradient_criterion());

}  // namespace
}  // namespace tandem
