// Top-KAST (Jayakumar et al. 2021, arXiv 2106.03517): the forward pass uses the top magnitudes A,
// the gradient reaches and changes a superset B of them; outside B weights stand still until they
// are among the largest, or are zero (superset_outside). Weights of B that the forward pass lacks
// are decayed 1/density times as strongly as active ones, which is the paper's exploration loss.
// (What they are decayed more is part of the gradient: clipping scales it, and AdamW normalises
// it.) B is twice A unless superset_density says otherwise; both are chosen every refresh_interval
// steps.
#include <algorithm>

#include "methods/fill.h"
#include "methods/method.h"
#include "methods/superset.h"

namespace tandem {
namespace {

Policies topkast(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kSuperset, Support::kSuperset};
  const double density = config.real("density"), said = config.real("superset_density");
  set_superset(config, said > 0 ? said : std::min(1.0, 2 * density), policies.sets);
  policies.dormant.kind = Dormant::Kind::kDecay;
  policies.dormant.in_gradient = true;
  policies.dormant.eta = config.real("weight_decay") * (1 / density - 1);
  policies.topology = refreshed_mask(config);
  policies.start = start_of(config, Start::Pattern::kMagnitude);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "topkast",
                           .summary = "the largest weights are used, a superset of them is trained",
                           .cite = "arXiv:2106.03517",
                           .revision = 2,
                           .defaults = {{"refresh_interval", "10"}},
                           .uses = {"refresh_interval", "mask_source", "growth_batches",
                                    "superset_density", "superset_outside"},
                           .file = __FILE__},
                          topkast);

}  // namespace
}  // namespace tandem
