// Reads the options that several methods share into policies.
#pragma once

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Budget, exempt layers and initial scale; the pattern is the method's own.
Start start_of(const Config& config, Start::Pattern pattern);

// A drop-and-grow rule from drop_*, update_*, grow_init and regrow_dropped.
TopologyRule drop_and_grow(const Config& config, const std::string& drop, const std::string& grow);

// The mask of a net whose dormant weights live: top magnitudes, refreshed every refresh_interval.
TopologyRule refreshed_by_magnitude(const Config& config);

// A level's alignment; `prefix` is "weights" or "attention".
Alignment alignment_of(const Config& config, const std::string& prefix);

// Sparse from the start with dormant weights at zero: static, SET, RigL, GMP.
Policies sparse_with_zero_dormant(const Config& config, Start::Pattern pattern);

// Random alternation of the streams over one set of weights, mask by magnitude: alternate, ssa.
Policies alternating_weights(const Config& config);

// Options of drop_and_grow, for Part::uses.
std::vector<std::string> drop_and_grow_options();

}  // namespace tandem
