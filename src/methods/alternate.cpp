// Alternation without alignment: each step draws one stream (full with probability p; for the whole
// net, unless weights_draw = layer) and trains what that stream uses. Dormant weights keep their
// values, coast on momentum and weight decay, and may be decayed on top (dormant_decay), which is
// the control for alignment; clipped like ssa, so that the two differ in alignment alone.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "alternate",
                           .summary = "full or sparse stream at random each step, no alignment",
                           .cite = "",
                           .revision = 2,
                           .defaults = {{"clip", "1"}},
                           .uses = alternating_weights_options(),
                           .file = __FILE__},
                          alternating_weights);

}  // namespace
}  // namespace tandem
