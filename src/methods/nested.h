// This gives the sparse stream nested budgets (weights_nested), where streams alternate.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Fills Sets::nested from weights_nested; throws ConfigError where the policies so far can't have
// it.
void nest_masks(const Config& config, Policies& policies);

}  // namespace tandem
