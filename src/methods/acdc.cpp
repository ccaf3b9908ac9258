// AC/DC, alternating compressed and decompressed training (Peste et al. 2021, arXiv 2106.12379):
// full and sparse phases in turn. A sparse phase begins with a pruning by magnitude over the whole
// net; what is pruned comes back at zero in the next full phase, whose momentum starts empty. The
// phases are the authors' ImageNet schedule for 90%: a tenth of the run in full, then turns of a
// twentieth, the last full phase from 75 to 85% and the last sparse one from there.
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies acdc(const Config& config) {
  Policies policies = phased_weights(config);
  policies.schedule.empties_slots = true;
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "acdc",
     .summary = "full and sparse phases in turn, pruned by magnitude over the net",
     .cite = "arXiv:2106.12379",
     .revision = 2,
     .defaults = {{"phases", "0.1,0.15,0.2,0.25,0.3,0.35,0.4,0.45,0.5,0.55,0.6,0.65,0.7,0.75,0.85"},
                  {"prune_scope", "net"}},
     .uses = phased_weights_options(),
     .file = __FILE__},
    acdc);

}  // namespace
}  // namespace tandem
