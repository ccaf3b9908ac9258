// The option --probes says default, all or names of families, joined by ','.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

// Returns the names as they were given. A name that is none is a ConfigError, which lists the
// nearest and all valid ones.
std::vector<std::string> said_probes(const Config& config);

}  // namespace tandem
