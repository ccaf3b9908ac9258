// These functions read the options that several attention methods share into policies.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Says how blocks are chosen, from the options that selector_options() names.
Policies::Selector selector_of(const Config& config);
std::vector<std::string> selector_options();

// Draws once per step for all layers: full with probability attention_p, and sparse otherwise.
Policies alternating_attention(const Config& config);

}  // namespace tandem
