// CHT, Cannistraci-Hebb training (Zhang et al. 2024; the CH3-L3 score of Muscoloni et al. 2020,
// 10.20944/preprints202012.0808): drop by magnitude, grow where the topology alone predicts a link.
// No gradient is read. Starts at random here; the authors' correlated start reads the data.
// CHTs (Zhang et al. 2025, arXiv 2501.19107) draws both: cht_removal = soft keeps weights in
// proportion to score^T, T from 1 to 3 over the updates, cht_growth = soft grows in proportion to
// the CH3-L3 score; cht_score = relative_importance is its other score for removal.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "cht_removal",
                    .type = OptionType::kChoice,
                    .default_value = "hard",
                    .neutral = "hard",
                    .help = "the lowest scores go, or who stays is drawn in proportion to "
                            "score^T, T from 1 to 3",
                    .choices = {"hard", "soft"},
                    .of_part = true,
                    .group = "weights level"});
TANDEM_REGISTERED =
    declare_option({.name = "cht_growth",
                    .type = OptionType::kChoice,
                    .default_value = "hard",
                    .neutral = "hard",
                    .help = "the best predicted links grow, or a draw in proportion to the score",
                    .choices = {"hard", "soft"},
                    .of_part = true,
                    .group = "weights level"});
TANDEM_REGISTERED =
    declare_option({.name = "cht_score",
                    .type = OptionType::kChoice,
                    .default_value = "magnitude",
                    .neutral = "magnitude",
                    .help = "what removal goes by; relative_importance: |w| as a share of its "
                            "input's and of its unit's weights",
                    .choices = {"magnitude", "relative_importance"},
                    .of_part = true,
                    .group = "weights level"});

constexpr double kSharpestRemoval = 3;

Policies cht(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  const bool soft_growth = config.text("cht_growth") == "soft";
  policies.topology =
      drop_and_grow(config, config.text("cht_score"), soft_growth ? "ch3_l3_plain" : "ch3_l3");
  TopologyOperation& removal = policies.topology.operations[0];
  if (config.text("cht_removal") == "soft") {
    removal.sampled = true;
    removal.sharpness_final = kSharpestRemoval;
  }
  policies.topology.operations[1].sampled = soft_growth;
  return policies;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "cht",
     .summary = "drop by magnitude, grow where the topology predicts a link",
     .cite = "10.20944/preprints202207.0139",
     .defaults = {{"drop_fraction", "0.3"},
                  {"drop_schedule", "constant"},
                  {"update_interval_epochs", "1"},
                  {"update_end", "1"},
                  {"update_order", "step_then_update"},
                  {"regrow_dropped", "zero"},
                  {"grow_init", "zero"}},
     .uses = drop_and_grow_options({"cht_removal", "cht_growth", "cht_score"}),
     .file = __FILE__},
    cht);

}  // namespace
}  // namespace tandem
