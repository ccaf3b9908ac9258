// RigL (Evci et al. 2020, arXiv 1911.11134), as in the authors' TensorFlow code: every 100 steps
// the fraction alpha_t = alpha/2 (1 + cos(pi t / T_end)) of the active weights with the least
// magnitude is dropped and as many positions grow where the dense gradient is largest, in place of
// a step. A newborn starts at zero with empty slots; one dropped and grown in the same update keeps
// its value (other ports zero it: regrow_dropped = zero, or step first: update_order =
// step_then_update).
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies rigl(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude", "gradient");
  return policies;
}

const bool registered =
    weights_methods().add({.kind = "weights",
                           .name = "rigl",
                           .summary = "drop by magnitude, grow by the dense gradient",
                           .cite = "arXiv:1911.11134",
                           .defaults = {{"drop_fraction", "0.3"},
                                        {"drop_schedule", "cosine"},
                                        {"update_interval", "100"},
                                        {"update_end", "0.75"},
                                        {"update_order", "update_instead"},
                                        {"regrow_dropped", "keep"},
                                        {"grow_init", "zero"}},
                           .uses = drop_and_grow_options(),
                           .file = __FILE__},
                          rigl);

}  // namespace
}  // namespace tandem
