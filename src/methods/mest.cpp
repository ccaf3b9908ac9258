// MEST, memory-economic sparse training (Yuan et al. 2021, arXiv 2110.14032): the weights of least
// |w| + lambda |g| go, as many grow at random; a share of 2% of the weights, in the authors' code
// falling to 0, each five epochs. mest_order = grow_first is their soft memory bound: growth comes
// first and the drop afterwards ranks the newborn too. lambda is the CHT authors' port's: the
// paper's code was not at hand.
#include <utility>

#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

const bool declared_lambda =
    declare_option({.name = "mest_lambda",
                    .type = OptionType::kReal,
                    .default_value = "0.01",
                    .neutral = "-1",
                    .help = "weight of the gradient's magnitude in MEST's score",
                    .minimum = 0,
                    .of_part = true,
                    .group = "weights level"});
const bool declared_order = declare_option(
    {.name = "mest_order",
     .type = OptionType::kChoice,
     .default_value = "drop_first",
     .neutral = "none",
     .help = "MEST drops and then grows, or grows and then drops (soft memory bound)",
     .choices = {"drop_first", "grow_first"},
     .of_part = true,
     .group = "weights level"});

Policies mest(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude_gradient", "random");
  auto& operations = policies.topology.operations;
  operations.front().parameter = config.real("mest_lambda");
  if (config.text("mest_order") == "grow_first") std::swap(operations[0], operations[1]);
  return policies;
}

const bool registered =
    weights_methods().add({.kind = "weights",
                           .name = "mest",
                           .summary = "drop by magnitude plus gradient, grow at random",
                           .cite = "arXiv:2110.14032",
                           .defaults = {{"drop_fraction", "0.02"},
                                        {"drop_schedule", "linear"},
                                        {"update_interval_epochs", "5"},
                                        {"update_end", "0.75"},
                                        {"update_order", "step_then_update"},
                                        {"grow_init", "zero"}},
                           .uses = drop_and_grow_options({"mest_lambda", "mest_order"}),
                           .file = __FILE__},
                          mest);

}  // namespace
}  // namespace tandem
