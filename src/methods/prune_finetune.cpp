// Train, prune once by magnitude, train on: the first half of the run in full, the second half with
// what is left, so that it costs as many epochs as any other method. The baseline that a sparse
// method has to beat (Renda et al. 2020, arXiv 2003.02389).
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies prune_finetune(const Config& config) { return phased_weights(config); }

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "prune_finetune",
                           .summary = "dense for half of the run, pruned once, then fine-tuned",
                           .cite = "arXiv:2003.02389",
                           .revision = 2,
                           .defaults = {{"phases", "0.5"}},
                           .uses = phased_weights_options(),
                           .file = __FILE__},
                          prune_finetune);

}  // namespace
}  // namespace tandem
