// Fresh batches are drawn for a topology update whose criteria rank weights by gradients or inputs.
// The step's own batch is one draw, and what it leaves is not always what they ask for.
#pragma once

#include <string>
#include <vector>

#include "policy/policy.h"

namespace tandem {

// Returns the names of the criteria of src/topology that read the gradient of all positions.
const std::vector<std::string>& gradient_criteria();

// Where such a criterion would find the step's gradient cut to what the step trains, this makes its
// updates draw a batch of their own if they don't already.
void read_uncut_gradients(Policies& policies);

}  // namespace tandem
