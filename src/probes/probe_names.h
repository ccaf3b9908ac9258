// What --probes says: default, all or names of families, joined by ','.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

// As said. Throws ConfigError for a name that is none, with the nearest and all valid ones.
std::vector<std::string> said_probes(const Config& config);

}  // namespace tandem
