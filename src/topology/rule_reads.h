// What the criteria of a rule read: the one place that says which gradients and inputs a step must
// leave behind, for what keeps them (topology_update.h) and for what counts them (step_flops.h).
#pragma once

#include <vector>

#include "policy/policy.h"
#include "topology/criteria.h"

namespace tandem {

// Criteria of the operations, in order, each with its operation's number; then those of
// redistribution.
std::vector<Criterion> criteria_of(const TopologyRule& rule);

struct RuleReads {
  bool gradient = false;     // of all positions, at updates
  bool accumulates = false;  // the same after each backward pass, into slots
  bool inputs = false;       // of the layer, at updates
};
RuleReads reads_of(const std::vector<Criterion>& criteria);

}  // namespace tandem
