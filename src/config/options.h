// The engine-wide options; an option of one part alone is declared in that part's file.
#pragma once

#include <vector>

#include "config/option.h"

namespace tandem {

// Bounds beyond which no run ends, or no machine reaches, so that products of what they bound stay
// within 64 bits. Sizes of a network and of a batch have none: they are asked against memory.
constexpr double kMostSteps = 1e12, kMostEpochs = 1e9, kMostTokens = 1 << 30, kMostJobs = 4096;

std::vector<Option> engine_options();    // all, those of the functions below among them
std::vector<Option> training_options();  // groups "training", "network" and "transformer"
std::vector<Option> level_options();     // groups "weights level" and "attention level"

}  // namespace tandem
