// A method's whole course over the walk's steps.
#pragma once

#include "support/method_walk.h"

namespace tandem::test {

// Requires of a case's run, not begun yet, that each step keeps to its budget and policies (see
// method_rules.h), that another trainer of the same seeds goes the same way to the bit, and so does
// one that takes over in the middle; and that other seeds have other masks.
void require_conformance(const MethodCase& each, Trainer& trainer);

}  // namespace tandem::test
