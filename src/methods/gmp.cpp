// Gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878): dense at first, or at
// initial_density, then pruned by magnitude to s_t = s_f + (s_i - s_f)(1 - (t - t0)/(t1 - t0))^3,
// per layer or over the whole net; what is pruned stays out.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies gmp(const Config& config) {
  Policies policies = shrinking_weights(config);
  policies.topology = pruned_to_budget(config);
  policies.topology.interval_steps = config.integer("prune_interval");
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "gmp",
                           .summary = "dense at first, pruned by magnitude to a cubic schedule",
                           .cite = "arXiv:1710.01878",
                           .revision = 2,
                           .uses = {"prune_begin", "prune_end", "prune_interval", "prune_scope",
                                    "mask_source", "growth_batches", "initial_density"},
                           .file = __FILE__},
                          gmp);

}  // namespace
}  // namespace tandem
