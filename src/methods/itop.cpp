// ITOP, in-time over-parameterization (Liu et al. 2021, arXiv 2102.02887): drop by magnitude with
// long intervals, so that what was grown can mature, and a fraction of a half that a cosine takes
// to 0.005 over the whole run: exploration never stops. grow_by = random is SET-ITOP (every 1,500
// steps in the authors' README), gradient RigL-ITOP (4,000), averaged_gradient SNFS's growth.
// random_unfired is at random too, among positions that have never been active while there are any.
// Counts are exact, where the authors' random growth lets them drift.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "grow_by",
                    .type = OptionType::kChoice,
                    .default_value = "random",
                    .neutral = "none",
                    .help = "where an update grows",
                    .choices = {"random", "random_unfired", "gradient", "averaged_gradient"},
                    .of_part = true,
                    .group = "weights level"});

Policies itop(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude", config.text("grow_by"));
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "itop",
     .summary = "rare updates to the end of training; growth at random or by gradient",
     .cite = "arXiv:2102.02887",
     .defaults = {{"drop_fraction", "0.5"},
                  {"drop_final", "0.005"},
                  {"drop_schedule", "cosine"},
                  {"update_interval", "1500"},
                  {"update_end", "1"},
                  {"update_order", "step_then_update"},
                  {"regrow_dropped", "keep"},
                  {"grow_init", "zero"}},
     .uses = drop_and_grow_options({"grow_by"}),
     .file = __FILE__},
    itop);

}  // namespace
}  // namespace tandem
