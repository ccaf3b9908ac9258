// This has what is the same for all methods that have a superset B of the mask.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Fills Sets::superset and what is outside of it, from superset_outside; 0: there is no superset.
void set_superset(const Config& config, double density, Sets& sets);

}  // namespace tandem
