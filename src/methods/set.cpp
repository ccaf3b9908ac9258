// SET, sparse evolutionary training (Mocanu et al. 2018, arXiv 1707.04780), as in the authors'
// SciPy code: after each epoch the fraction zeta of the negative weights nearest zero and of the
// positive ones nearest zero is dropped, and as many positions grow at random with values from N(0,
// 0.1^2). Other ports drop by magnitude over both signs (drop_rule = magnitude), grow at zero
// (grow_init = zero), keep what was dropped and grows again (regrow_dropped = keep, in the authors'
// code it is drawn anew) and lose all momentum at an update (update_slots = all).
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies set(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, config.text("drop_rule"), "random");
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "set",
                           .summary = "drop nearest zero by sign, grow at random, once an epoch",
                           .cite = "arXiv:1707.04780",
                           .defaults = {{"drop_rule", "set_signed"},
                                        {"drop_fraction", "0.3"},
                                        {"drop_schedule", "constant"},
                                        {"update_interval_epochs", "1"},
                                        {"update_end", "1"},
                                        {"regrow_dropped", "zero"},
                                        {"grow_init", "normal"},
                                        {"update_order", "step_then_update"}},
                           .uses = drop_and_grow_options({"drop_rule"}),
                           .file = __FILE__},
                          set);

}  // namespace
}  // namespace tandem
