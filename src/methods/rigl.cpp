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

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "rigl",
                           .summary = "drop by magnitude, grow by the dense gradient",
                           .cite = "arXiv:1911.11134",
                           .defaults = rigl_defaults(),
                           .uses = drop_and_grow_options(),
                           .file = __FILE__},
                          rigl_weights);

}  // namespace
}  // namespace tandem
