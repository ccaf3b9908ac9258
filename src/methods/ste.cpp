// Straight-through estimation (DNW, Wortsman et al. 2019, arXiv 1906.00586; STE of JaxPruner): the
// mask is the top magnitudes at every step, the gradient of the sparse net reaches all weights as
// if none were masked, and dormant ones train on it.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies ste(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kAll, Support::kAll};
  policies.topology = refreshed_mask(config);
  policies.start = refreshed_start(config);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "ste",
                           .summary = "sparse forward, the gradient reaches all weights",
                           .cite = "arXiv:1906.00586",
                           .revision = 2,
                           .defaults = {{"refresh_interval", "1"}},
                           .uses = refreshed_mask_options(),
                           .file = __FILE__},
                          ste);

}  // namespace
}  // namespace tandem
