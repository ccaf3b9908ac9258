// What a level's policies ask of the rest of the program, derived once: which streams and passes a
// step has, which positions its gradients reach and when a criterion reads more, what is kept
// beside the weights, and which storages can hold the connections. The step, the ledger, the
// estimates of memory, the choice of a storage and the grouping of runs read it here and decide
// nothing of this themselves.
//
// demands.cpp takes every policy apart member by member, so that a member which is added there and
// not looked at does not compile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace tandem {

struct Demands {
  // Streams and passes of a step.
  bool full_stream = false;       // some step runs the full stream
  bool both_streams = false;      // every step runs both, in a pass each, with a task loss each
  bool aligns = false;            // some step compares the streams
  bool detached = false;          // there, the counterpart's pull does not reach a layer's input
  bool counterpart_pass = false;  // there, the counterpart is computed in a pass of its own
  bool layers_draw = false;       // each layer draws its own stream
  bool perturbed = false;  // gradients are taken at other weights: a second step's operations
  bool teacher = false;    // a dense net is trained beside the run

  // Sets and gradients.
  Support gradient = Support::kAll, update = Support::kAll;  // S and U
  bool full_in_superset = false;                             // the full stream computes with B
  bool ever_reaches_all = false;   // some step's gradient reaches all positions
  bool cuts_gradients = false;     // some step's gradient is cut where a criterion would read
  bool reads_gradient = false;     // updates read the gradient of all positions,
  bool accumulates = false;        // every step shows it to a criterion's slot,
  bool reads_inputs = false;       // updates read the layers' inputs
  std::int64_t fresh_batches = 0;  // that an update draws to read them; 0: the step's own

  // Connections.
  bool renews_weights = false;  // weights are born, or slots emptied, in the course of training
  bool keeps_counts = false;    // no update changes how many weights of a layer are active
  // Why a storage that keeps active weights alone can't hold the connections; empty where it can.
  // What is not listed as served is refused.
  std::string sparse_refusal;

  // All that two runs must share to train in one group: everything but numbers that are read run
  // by run.
  std::string kind;

  bool operator==(const Demands&) const = default;
};
Demands demands_of(const Policies& policies);

// The criterion by which TopologyRule::Redistribution::kAveragedGradient weighs layers.
constexpr char kRedistributionCriterion[] = "averaged_gradient";

// Returns the names of the criteria of the operations in order, then those of redistribution.
std::vector<std::string> criteria_read(const TopologyRule& rule);

}  // namespace tandem
