// The criteria of a rule as the topology's updates apply them; what a step must leave behind for
// them is said by policy/demands.h.
#pragma once

#include <vector>

#include "policy/policy.h"
#include "topology/criteria.h"

namespace tandem {

// Returns the criteria of the operations in order, each with its operation's number, then those of
// redistribution.
std::vector<Criterion> criteria_of(const TopologyRule& rule);

}  // namespace tandem
