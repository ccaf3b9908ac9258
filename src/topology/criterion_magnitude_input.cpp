// The score is |w_io| sqrt(E h_i^2), with h the layer's inputs over this step's batch: what the
// weight adds to its unit's output, which magnitude alone misses where inputs differ in scale (Sun
// et al. 2023, Wanda, arXiv 2306.11695). At a fixed count it minimises the diagonal part of E |dW
// h|^2.
#include "data/tensor.h"
#include "topology/criteria.h"

namespace tandem {
namespace {

Criterion magnitude_input_criterion() {
  Criterion criterion;
  criterion.name = "magnitude_input";
  criterion.needs_inputs = true;
  criterion.score = [](const ScoreInputs& inputs) -> at::Tensor {
    return inputs.weight.abs() * inputs.input_scale;
  };
  return criterion;
}

TANDEM_REGISTERED =
    criteria().add({.kind = "criterion",
                    .name = "magnitude_input",
                    .summary = "magnitude times the root mean square of the weight's input",
                    .cite = "arXiv:2306.11695",
                    .file = __FILE__},
                   magnitude_input_criterion());

}  // namespace
}  // namespace tandem
