// SSA-W: sparse sparse attention's recipe (arXiv 2511.20102) on weights. Each step draws the
// running stream; the other one is computed from the same layer input, and their outputs are pulled
// toward each other: alpha / layers x sum of lambda_full d(full, sg sparse) + lambda_sparse d(sg
// full, sparse). With equal lambdas before the activation the pull reaches dormant weights only: it
// decays them where the data can see them. Without clipping it diverges at learning rates that suit
// the others. alpha = 10, both lambdas 1 and p = 0.5 are SSA's own.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies ssa(const Config& config) {
  Policies policies = alternating_weights(config);
  policies.alignment = alignment_of(config, "weights");
  return policies;
}

const bool registered = weights_methods().add(
    {.kind = "weights",
     .name = "ssa",
     .summary = "full or sparse stream at random each step, outputs aligned both ways",
     .cite = "arXiv:2511.20102",
     .revision = 2,
     .defaults = {{"weights_alpha", "10"}, {"clip", "1"}},
     .uses = {"weights_p", "refresh_interval", "dormant_decay", "dormant_decay_when",
              "dormant_decay_lr_scaled", "weights_alpha", "weights_alpha_warmup",
              "weights_lambda_full", "weights_lambda_sparse", "weights_distance", "weights_site",
              "weights_counterpart"},
     .file = __FILE__},
    ssa);

}  // namespace
}  // namespace tandem
