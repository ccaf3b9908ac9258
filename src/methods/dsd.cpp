// DSD, dense-sparse-dense training (Han et al. 2017, arXiv 1607.04381): one pruning by magnitude in
// the middle third, then everything again, from zero and at a tenth of the learning rate. What
// comes out is a dense net; its sparse read-out is a pruning without fine-tuning.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies dsd(const Config& config) { return phased_weights(config); }

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "dsd",
                           .summary = "a sparse phase between two full ones",
                           .cite = "arXiv:1607.04381",
                           .revision = 2,
                           .defaults = {{"phases", "0.333,0.667"}, {"last_phase_lr", "0.1"}},
                           .uses = phased_weights_options(),
                           .file = __FILE__},
                          dsd);

}  // namespace
}  // namespace tandem
