// SNFS, sparse networks from scratch (Dettmers & Zettlemoyer 2019, arXiv 1907.04840), as in the
// authors' code: once an epoch half of each layer's weights, by a cosine down to 0.005, is dropped
// by magnitude; growth is where a running average of the dense gradient is largest, and each layer
// gets a share of it by the mean |average| of its active weights (at most 99% of its gaps, the rest
// to the others). The average needs the dense gradient of every step. Counts are exact here, where
// the authors' drift and are corrected.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option(
    {.name = "redistribute",
     .type = OptionType::kFlag,
     .default_value = "true",
     .neutral = "false",
     .help = "what all layers dropped grows where the averaged gradient is large, across layers",
     .of_part = true,
     .group = "weights level"});

Policies snfs(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude", "averaged_gradient");
  if (config.flag("redistribute")) {
    policies.topology.redistribution = TopologyRule::Redistribution::kAveragedGradient;
  }
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "snfs",
     .summary = "grow by an averaged dense gradient, layers share growth by it",
     .cite = "arXiv:1907.04840",
     .defaults = {{"drop_fraction", "0.5"},
                  {"drop_final", "0.005"},
                  {"drop_schedule", "cosine"},
                  {"update_interval_epochs", "1"},
                  {"update_end", "1"},
                  {"update_order", "step_then_update"},
                  {"regrow_dropped", "keep"},
                  {"grow_init", "zero"}},
     .uses = drop_and_grow_options({"redistribute"}),
     .file = __FILE__},
    snfs);

}  // namespace
}  // namespace tandem
