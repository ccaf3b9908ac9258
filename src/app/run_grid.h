// Runs a grid to its end: in one round, or, with a [tune] section, the trials (stored as grid
// NAME/tuning) and then the runs at what they chose.
#pragma once

#include <cstdint>

#include "config/grid.h"
#include "core/error.h"

namespace tandem {

ExitCode run_grid(const Grid& grid, std::int64_t stop_after_steps = 0);

}  // namespace tandem
