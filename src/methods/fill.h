// These functions read the options that several methods share into policies.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

// Reads budget, exempt layers and initial scale; the pattern is the method's own.
Start start_of(const Config& config, Start::Pattern pattern);

// Makes a drop-and-grow rule from drop_*, update_*, grow_init and regrow_dropped.
TopologyRule drop_and_grow(const Config& config, const std::string& drop, const std::string& grow);

// Makes a pruning by mask_source (magnitude) to a budget that shrinks by the cubic schedule, from
// prune_* without its interval.
TopologyRule pruned_to_budget(const Config& config);

// Makes the rule for the mask of a net whose dormant weights carry values: the top of mask_source
// (magnitude), refreshed every refresh_interval until refresh_end, and shrinking from
// initial_density where that is given.
TopologyRule refreshed_mask(const Config& config);
Start refreshed_start(const Config& config);
std::vector<std::string> refreshed_mask_options(std::vector<std::string> more = {});

// Makes full and sparse phases that change over at the shares `phases` of the run. A sparse one
// begins with a pruning by mask_source (magnitude), over the whole net where prune_scope says so,
// that empties the rest.
Policies phased_weights(const Config& config);
std::vector<std::string> phased_weights_options();

// Draws the stream of each step at random; `prefix` is "weights" or "attention".
Schedule drawn_streams(const Config& config, const std::string& prefix);
std::vector<std::string> drawn_streams_options(const std::string& prefix);

// Says at which steps, and toward what, a level's streams are aligned, and how alpha is steered.
void steer_alignment(const Config& config, const std::string& prefix, Alignment& alignment);
std::vector<std::string> steer_alignment_options(const std::string& prefix);

// Reads a level's alignment; `prefix` is "weights" or "attention".
Alignment alignment_of(const Config& config, const std::string& prefix);

// Returns policies of a net that is sparse from the start with dormant weights at zero: static,
// SET, RigL, GMP.
Policies sparse_with_zero_dormant(const Config& config, Start::Pattern pattern);

// Returns policies that alternate the streams at random over one set of weights, with a mask by
// magnitude: alternate, ssa.
Policies alternating_weights(const Config& config);
std::vector<std::string> alternating_weights_options();

// Returns the options of drop_and_grow and `more`, for Part::uses.
std::vector<std::string> drop_and_grow_options(std::vector<std::string> more = {});

// These are RigL's policies, and its defaults for Part::defaults, for methods that are RigL but for
// one thing.
Policies rigl_weights(const Config& config);
std::vector<std::pair<std::string, std::string>> rigl_defaults();

// Returns policies of a net that begins dense, or at initial_density at random, with dormant
// weights at zero.
Policies shrinking_weights(const Config& config);

}  // namespace tandem
