// CrAM, compression-aware minimisation (Peste et al. 2022, arXiv 2207.14200): the gradient of the
// dense net is taken at C(w + rho g), C the pruning to the budget by magnitude, and kept where C
// keeps weights; CrAM+ (cram_plus, the default) adds the gradient at w. radius_of = unit_gradient
// measures rho along g / |g|, as SAM does. One density per run; C's mask is that of w, ranked every
// refresh_interval steps, where the authors rank the perturbed weights. Each step costs two.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option({.name = "cram_plus",
                                    .type = OptionType::kFlag,
                                    .default_value = "true",
                                    .neutral = "false",
                                    .help = "CrAM adds the gradient at the current weights",
                                    .of_part = true,
                                    .group = "weights level"});

TANDEM_REGISTERED =
    declare_option({.name = "cram_masked_gradient",
                    .type = OptionType::kFlag,
                    .default_value = "true",
                    .neutral = "true",
                    .help = "of CrAM's gradient at the pruned weights only what the pruning kept",
                    .of_part = true,
                    .group = "weights level"});

TANDEM_REGISTERED = declare_option({.name = "radius_of",
                                    .type = OptionType::kChoice,
                                    .default_value = "gradient",
                                    .neutral = "none",
                                    .help = "what CrAM's radius multiplies",
                                    .choices = {"gradient", "unit_gradient"},
                                    .of_part = true,
                                    .group = "weights level"});

Policies cram(const Config& config) {
  Policies policies;
  policies.perturbation.kind = Perturbation::Kind::kCompressed;
  policies.perturbation.radius = config.real("radius");
  policies.perturbation.unit = config.text("radius_of") == "unit_gradient";
  policies.perturbation.masked = config.flag("cram_masked_gradient");
  policies.perturbation.adds_own = config.flag("cram_plus");
  policies.topology = refreshed_mask(config);
  policies.start = start_of(config, Start::Pattern::kMagnitude);
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "cram",
     .summary = "dense, the gradient at pruned weights nearby; pruned at read-out",
     .cite = "arXiv:2207.14200",
     .revision = 3,
     .defaults = {{"refresh_interval", "10"}},
     .uses = {"radius", "radius_of", "cram_plus", "cram_masked_gradient", "refresh_interval",
              "mask_source", "growth_batches"},
     .file = __FILE__},
    cram);

}  // namespace
}  // namespace tandem
