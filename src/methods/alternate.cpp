// Alternation without alignment: each step draws one stream for the whole net (full with
// probability p) and trains what that stream uses. Dormant weights keep their values, coast on
// momentum and weight decay, and may be decayed on top (dormant_decay), which is the control for
// alignment; clipped like ssa, so that the two differ in alignment alone.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

const bool registered =
    weights_methods().add({.kind = "weights",
                           .name = "alternate",
                           .summary = "full or sparse stream at random each step, no alignment",
                           .cite = "",
                           .defaults = {{"clip", "1"}},
                           .uses = {"weights_p", "refresh_interval", "dormant_decay",
                                    "dormant_decay_when", "dormant_decay_lr_scaled"},
                           .file = __FILE__},
                          alternating_weights);

}  // namespace
}  // namespace tandem
