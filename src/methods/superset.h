// The superset B of the mask: what of it is the same for the methods that have one.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Sets::superset and what is outside of it, from superset_outside; 0: there is no superset.
void set_superset(const Config& config, double density, Sets& sets);

}  // namespace tandem
