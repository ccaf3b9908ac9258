// The superset B of a layer whatever its storage, for who looks at positions.
#pragma once

#include <cstdint>

#include "topology/active_set.h"
#include "topology/connections.h"

namespace tandem {

// Unknown where there is none.
ActiveSet superset_of(const Connections& connections, std::int64_t replica);

}  // namespace tandem
