// CrAM, compression-aware minimisation (Peste et al. 2022, arXiv 2207.14200): the gradient of the
// dense net is taken at C(w + rho g / |g|), C the pruning to the budget by magnitude; CrAM+
// (cram_plus, the default) adds the gradient at w. One density per run; C's mask is that of w,
// ranked every refresh_interval steps, where the authors rank the perturbed weights. Each step
// costs two.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

const bool declared = declare_option({.name = "cram_plus",
                                      .type = OptionType::kFlag,
                                      .default_value = "true",
                                      .neutral = "false",
                                      .help = "CrAM adds the gradient at the current weights",
                                      .of_part = true,
                                      .group = "weights level"});

Policies cram(const Config& config) {
  Policies policies;
  policies.perturbation.kind = Perturbation::Kind::kCompressed;
  policies.perturbation.radius = config.real("radius");
  policies.perturbation.adds_own = config.flag("cram_plus");
  policies.topology = refreshed_mask(config);
  policies.start = start_of(config, Start::Pattern::kMagnitude);
  return policies;
}

const bool registered = weights_methods().add(
    {.kind = "weights",
     .name = "cram",
     .summary = "dense, the gradient at pruned weights nearby; pruned at read-out",
     .cite = "arXiv:2207.14200",
     .defaults = {{"refresh_interval", "10"}},
     .uses = {"radius", "cram_plus", "refresh_interval", "mask_source", "growth_batches"},
     .file = __FILE__},
    cram);

}  // namespace
}  // namespace tandem
