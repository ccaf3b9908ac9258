// MEST, memory-economic sparse training (Yuan et al. 2021, arXiv 2110.14032): the weights of least
// |w| + lambda |g| go and as many grow at random, each five epochs. The authors' code moves 2% of
// all weights, from epoch 90 of 160 on 1% and from 120 on none: at their density of 0.1 a fifth and
// a tenth of the active ones, which is what drop_fraction and drop_schedule = steps say here. Where
// growth comes first, the newborn compete with the old: mest_order = grow_first at once, within an
// update; soft_bound, their soft memory bound, after an interval of training. There the net holds
// budget x (1 + e) weights between updates, e the drop fraction's schedule (the paper's 5% of all
// weights are drop_fraction = 0.5 at a density of 0.1), and ends at its budget. lambda is the CHT
// authors' port's; the authors' code has 0 where a run doesn't say it.
#include <utility>

#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option({.name = "mest_lambda",
                                    .type = OptionType::kReal,
                                    .default_value = "0.01",
                                    .neutral = "-1",
                                    .help = "weight of the gradient's magnitude in MEST's score",
                                    .minimum = 0,
                                    .of_part = true,
                                    .group = "weights level"});
TANDEM_REGISTERED = declare_option(
    {.name = "mest_order",
     .type = OptionType::kChoice,
     .default_value = "drop_first",
     .neutral = "none",
     .help = "MEST drops and then grows, or grows and then drops, at once or at the next update",
     .choices = {"drop_first", "grow_first", "soft_bound"},
     .of_part = true,
     .group = "weights level"});

// Back to the budget, then beyond it by what decays to nothing.
void bound_softly(TopologyRule& rule) {
  rule.operations[0].kind = TopologyOperation::Kind::kPruneTo;
  rule.operations[1].kind = TopologyOperation::Kind::kGrowTo;
}

Policies mest(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude_gradient", "random");
  auto& operations = policies.topology.operations;
  operations.front().parameter = config.real("mest_lambda");
  if (config.text("mest_order") == "grow_first") std::swap(operations[0], operations[1]);
  if (config.text("mest_order") == "soft_bound") bound_softly(policies.topology);
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "mest",
                           .summary = "drop by magnitude plus gradient, grow at random",
                           .cite = "arXiv:2110.14032",
                           .defaults = {{"drop_fraction", "0.2"},
                                        {"drop_schedule", "steps"},
                                        {"update_interval_epochs", "5"},
                                        {"update_end", "0.75"},
                                        {"update_order", "step_then_update"},
                                        {"regrow_dropped", "zero"},
                                        {"grow_init", "zero"}},
                           .uses = drop_and_grow_options({"mest_lambda", "mest_order"}),
                           .file = __FILE__},
                          mest);

}  // namespace
}  // namespace tandem
