// These read the granularity of a topology from a config; policy/rules.h says which rules carry it.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Reads granularity, nm_n, nm_m and granularity_block.
Granularity granularity_of(const Config& config);

}  // namespace tandem
