// GraNet (Liu et al. 2021, arXiv 2106.10404): a net that starts dense (or at initial_density, 0.5
// in the authors' sparse-to-sparse runs) is pruned over all layers together to the cubic schedule
// of gmp, and each pruning is followed by a regeneration within layers: half of what is left, by a
// cosine down to 0.005 over the whole run, is dropped by magnitude and as many grow by the dense
// gradient. Regeneration goes on where the pruning has ended.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies granet(const Config& config) {
  Policies policies = shrinking_weights(config);
  TopologyRule rule = drop_and_grow(config, "magnitude", "gradient");
  const TopologyRule pruning = pruned_to_budget(config);
  rule.operations.insert(rule.operations.begin(), pruning.operations.front());
  rule.budget_schedule = pruning.budget_schedule;
  const double span = rule.end > 0 ? rule.end : 1;
  rule.budget_begin = pruning.begin / span;
  rule.budget_end = pruning.end / span;
  policies.topology = rule;
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "granet",
     .summary = "gradual pruning over all layers, with regeneration by gradient",
     .cite = "arXiv:2106.10404",
     .revision = 4,
     .defaults = {{"drop_fraction", "0.5"},
                  {"drop_final", "0.005"},
                  {"drop_schedule", "cosine"},
                  {"update_interval", "100"},
                  {"update_end", "1"},
                  {"update_order", "step_then_update"},
                  {"regrow_dropped", "keep"},
                  {"grow_init", "zero"},
                  {"prune_scope", "net"}},
     .uses = drop_and_grow_options(
         {"prune_begin", "prune_end", "prune_scope", "mask_source", "initial_density"}),
     .file = __FILE__},
    granet);

}  // namespace
}  // namespace tandem
