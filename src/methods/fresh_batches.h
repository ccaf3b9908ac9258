// Fresh batches are drawn for a topology update whose criteria rank weights by gradients or inputs.
// The step's own batch is one draw, and what it leaves is not always what they ask for.
#pragma once

#include "policy/policy.h"

namespace tandem {

// Where a criterion that reads the gradient of all positions would find the step's gradient cut to
// what the step trains, its updates draw a batch of their own if they don't already.
void read_uncut_gradients(Policies& policies);

}  // namespace tandem
