// Where a run's numbers came from: revision, machine, libraries, threads, storages and data files,
// as one JSON object that the store keeps by its hash.
#pragma once

#include <string>

#include "data/dataset.h"
#include "plan/group.h"

namespace tandem {

std::string processor_name();  // "unknown" where the system doesn't tell
std::string provenance_json(const GroupSpec& spec, const Dataset& data);

}  // namespace tandem
