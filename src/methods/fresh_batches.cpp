#include "methods/fresh_batches.h"

#include <algorithm>

#include "config/option.h"
#include "policy/demands.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "growth_batches",
                    .type = OptionType::kInt,
                    .default_value = "0",
                    .neutral = "0",
                    .help = "batches over which gradients and inputs that rank weights are "
                            "averaged, drawn for the update, with replacement; 0: the step's own, "
                            "or one where steps cut gradients to a stream's mask",
                    .unit = "batches",
                    .minimum = 0,
                    .maximum = 1024,
                    .of_part = true,
                    .group = "weights level"});

}  // namespace

void read_uncut_gradients(Policies& policies) {
  const Demands demands = demands_of(policies);
  if (demands.reads_gradient && demands.cuts_gradients) {
    policies.topology.fresh_batches = std::max<std::int64_t>(1, policies.topology.fresh_batches);
  }
}

}  // namespace tandem
