// CHT, Cannistraci-Hebb training (Zhang et al. 2024; the CH3-L3 score of Muscoloni et al. 2020,
// 10.20944/preprints202012.0808): drop by magnitude, grow where the topology alone predicts a link.
// No gradient is read. Starts at random here; the authors' correlated start reads the data.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies cht(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude", "ch3_l3");
  return policies;
}

const bool registered =
    weights_methods().add({.kind = "weights",
                           .name = "cht",
                           .summary = "drop by magnitude, grow where the topology predicts a link",
                           .cite = "10.20944/preprints202207.0139",
                           .defaults = {{"drop_fraction", "0.3"},
                                        {"drop_schedule", "constant"},
                                        {"update_interval_epochs", "1"},
                                        {"update_end", "1"},
                                        {"update_order", "step_then_update"},
                                        {"grow_init", "zero"}},
                           .uses = drop_and_grow_options(),
                           .file = __FILE__},
                          cht);

}  // namespace
}  // namespace tandem
