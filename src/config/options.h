// The engine-wide options; an option of one part alone is declared in that part's file.
#pragma once

#include <vector>

#include "config/option.h"

namespace tandem {

std::vector<Option> engine_options();    // all, those of the functions below among them
std::vector<Option> training_options();  // groups "training", "network" and "transformer"
std::vector<Option> level_options();     // groups "weights level" and "attention level"

}  // namespace tandem
