// This gives the superset B of a layer, whatever its storage, to what looks at positions.
#pragma once

#include <cstdint>

#include "topology/active_set.h"
#include "topology/connections.h"

namespace tandem {

// The set is unknown where there is no superset.
ActiveSet superset_of(const Connections& connections, std::int64_t replica);

}  // namespace tandem
