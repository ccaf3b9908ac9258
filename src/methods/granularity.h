// The granularity of a topology from a config; policy/rules.h says which rules can carry it.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// From granularity, nm_n, nm_m and granularity_block.
Granularity granularity_of(const Config& config);

}  // namespace tandem
