// What a criterion of src/topology asks of whoever ranks by it, for the rooms below that one: read
// off the registered criteria (topology/criteria.h).
#pragma once

#include <map>
#include <string>

namespace tandem {

struct CriterionFacts {
  bool gradient = false;      // reads the gradient of all positions at an update
  bool accumulates = false;   // reads it after each backward pass, into a slot of its own
  bool everywhere = false;    // its slots are of all positions, dormant ones too
  bool inputs = false;        // reads the layer's inputs at an update
  bool per_sign = false;      // takes a share of each sign
  bool draws = false;         // draws random numbers
  bool scored = true;         // has scores, so that a draw can be in proportion to them
  bool within_layer = false;  // chooses within one layer, so that no ranking of the net can use it
};

// Says where they come from; asked when all criteria are registered, and again for a name that was
// not there then.
bool use_criterion_facts(std::map<std::string, CriterionFacts> (*facts)());
const std::map<std::string, CriterionFacts>& all_criterion_facts();
// Throws ConfigError with the nearest names.
CriterionFacts criterion_facts(const std::string& name);

}  // namespace tandem
