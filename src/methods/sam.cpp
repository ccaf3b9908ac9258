// Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412) of the dense net, pruned once
// at read-out: the gradient is taken at w + rho g / |g|. Each step costs two.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "radius",
                    .type = OptionType::kReal,
                    .default_value = "0.05",
                    .neutral = "-1",
                    .help = "how far along the gradient SAM and CrAM look (rho; CrAM: radius_of)",
                    .minimum = 0,
                    .of_part = true,
                    .per_replica = true,
                    .group = "weights level"});

Policies sam(const Config& config) {
  Policies policies;
  policies.perturbation.kind = Perturbation::Kind::kAscent;
  policies.perturbation.radius = config.real("radius");
  policies.start = start_of(config, Start::Pattern::kDense);
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "sam",
     .summary = "dense, the gradient at the worst weights nearby; pruned at read-out",
     .cite = "arXiv:2010.01412",
     .uses = {"radius"},
     .file = __FILE__},
    sam);

}  // namespace
}  // namespace tandem
