#include "methods/fresh_batches.h"

#include <algorithm>

#include "config/option.h"
#include "policy/criterion_facts.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "growth_batches",
                    .type = OptionType::kInt,
                    .default_value = "0",
                    .neutral = "0",
                    .help = "batches over which gradients and inputs that rank weights are "
                            "averaged, drawn for the update; 0: the step's own, or one where steps "
                            "cut gradients to a stream's mask",
                    .unit = "batches",
                    .minimum = 0,
                    .maximum = 1024,
                    .of_part = true,
                    .group = "weights level"});

// Some step's gradient is cut: layer by layer where they draw streams of their own, to a superset,
// to the mask where one product serves the task and another the alignment, or in part, at perturbed
// weights. (Nested masks refuse such criteria.)
bool cuts_gradients(const Policies& policies) {
  return policies.schedule.draws_per_layer() || policies.sets.superset > 0 ||
         policies.alignment.alpha > 0 || policies.perturbation.masked;
}

}  // namespace

void read_uncut_gradients(Policies& policies) {
  TopologyRule& rule = policies.topology;
  const bool reads = std::any_of(rule.operations.begin(), rule.operations.end(),
                                 [](const TopologyOperation& operation) {
                                   return criterion_facts(operation.criterion).gradient;
                                 });
  if (reads && cuts_gradients(policies)) {
    rule.fresh_batches = std::max<std::int64_t>(1, rule.fresh_batches);
  }
}

}  // namespace tandem
