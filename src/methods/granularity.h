// These read the granularity of a topology from a config and check which rules it can carry.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Reads granularity, nm_n, nm_m and granularity_block. Throws ConfigError for impossible numbers.
Granularity granularity_of(const Config& config);

// Throws ConfigError where a rule can't keep the start's granularity, or where its density can't.
void check_granularity(const Start& start, const TopologyRule& rule);

}  // namespace tandem
