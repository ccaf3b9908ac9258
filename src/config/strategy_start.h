// Which strategies begin each stage with the network of the run's start, so that what is evaluated
// inside of a task is not what its end will be. Declared where the strategy is registered, for
// views, which see no strategy.
#pragma once

#include <string>
#include <vector>

namespace tandem {

// For static registration in a strategy's file. A second declaration is our own mistake:
// std::logic_error.
bool declare_begins_afresh(const std::string& strategy);
std::vector<std::string> strategies_that_begin_afresh();  // sorted

}  // namespace tandem
