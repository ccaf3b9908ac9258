// This is the one place that says which gradients and inputs the criteria of a rule read, and so
// what a step must leave behind, for what keeps them (topology_update.h) and for what counts them
// (step_flops.h).
#pragma once

#include <vector>

#include "policy/policy.h"
#include "topology/criteria.h"

namespace tandem {

// Returns the criteria of the operations in order, each with its operation's number, then those of
// redistribution.
std::vector<Criterion> criteria_of(const TopologyRule& rule);

struct RuleReads {
  bool gradient = false;     // the gradient of all positions, at updates
  bool accumulates = false;  // the same after each backward pass, into slots
  bool inputs = false;       // the layer's inputs, at updates
};
RuleReads reads_of(const std::vector<Criterion>& criteria);

}  // namespace tandem
