// SR-STE (Zhou et al. 2021, arXiv 2102.04010): straight-through estimation whose gradient pulls
// dormant weights toward zero, g + lambda (1 - M) w, so that masks settle; lambda = 2e-4 as in the
// authors' code. There it is for N:M masks (granularity = n_m); any granularity will do.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "srste_lambda",
                    .type = OptionType::kReal,
                    .default_value = "0.0002",
                    .neutral = "-1",
                    .help = "pull of dormant weights toward zero, in their gradient",
                    .minimum = 0,
                    .of_part = true,
                    .per_replica = true,
                    .group = "weights level"});

Policies srste(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kAll, Support::kAll};
  policies.dormant.kind = Dormant::Kind::kDecay;
  policies.dormant.in_gradient = true;
  policies.dormant.eta = config.real("srste_lambda");
  policies.topology = refreshed_mask(config);
  policies.start = refreshed_start(config);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "srste",
                           .summary = "straight-through, dormant weights are pulled toward zero",
                           .cite = "arXiv:2102.04010",
                           .revision = 2,
                           .defaults = {{"refresh_interval", "1"}},
                           .uses = refreshed_mask_options({"srste_lambda"}),
                           .file = __FILE__},
                          srste);

}  // namespace
}  // namespace tandem
