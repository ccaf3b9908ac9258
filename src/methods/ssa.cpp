// SSA-W: sparse sparse attention's recipe (arXiv 2511.20102) on weights. Each step draws the
// running stream; the other one is computed from the same layer input, and their outputs are pulled
// toward each other: alpha / layers x sum of lambda_full d(full, sg sparse) + lambda_sparse d(sg
// full, sparse). With equal lambdas before the activation the pull reaches dormant weights only: it
// decays them where the data can see them. Without clipping it diverges at learning rates that suit
// the others. alpha = 10, both lambdas 1 and p = 0.5 are SSA's own. With weights_detach the pull
// stays within each layer: its input is a constant to it, so that earlier layers feel the labels
// alone.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "weights_detach",
                    .type = OptionType::kFlag,
                    .default_value = "false",
                    .neutral = "false",
                    .help = "alignment reaches each layer's own weights and not its input",
                    .of_part = true,
                    .group = "weights level"});

Policies ssa(const Config& config) {
  Policies policies = alternating_weights(config);
  policies.alignment = alignment_of(config, "weights");
  policies.alignment.detached = config.flag("weights_detach");
  return policies;
}

std::vector<std::string> ssa_options() {
  std::vector<std::string> names = alternating_weights_options();
  for (const char* name :
       {"weights_alpha", "weights_alpha_warmup", "weights_lambda_full", "weights_lambda_sparse",
        "weights_distance", "weights_site", "weights_counterpart", "weights_detach"}) {
    names.push_back(name);
  }
  for (const std::string& name : steer_alignment_options("weights")) names.push_back(name);
  return names;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "ssa",
     .summary = "full or sparse stream at random each step, outputs aligned both ways",
     .cite = "arXiv:2511.20102",
     .revision = 3,
     .defaults = {{"weights_alpha", "10"}, {"clip", "1"}},
     .uses = ssa_options(),
     .file = __FILE__},
    ssa);

}  // namespace
}  // namespace tandem
