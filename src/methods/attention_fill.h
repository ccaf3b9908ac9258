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

// Reads what every method has whose module is the two-stream one: how blocks are chosen, and the
// penalty of entropy. two_stream_options() names the options.
Policies two_stream_attention(const Config& config);
std::vector<std::string> two_stream_options();

// The same with drawn streams: full with probability attention_p, and sparse otherwise.
Policies alternating_attention(const Config& config);
std::vector<std::string> alternating_attention_options();

}  // namespace tandem
