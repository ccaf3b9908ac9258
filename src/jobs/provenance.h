// Where a run's numbers came from: revision, machine, libraries, threads, storages and data files,
// as one JSON object that the store keeps by its hash.
#pragma once

#include <string>

#include "data/dataset.h"
#include "plan/group.h"

namespace tandem {

std::string processor_name();  // "unknown" where the system doesn't tell
// Of one run of a group. `wanted`: its config is what somebody has asked for, and not what was made
// of a stored run, so that a file that it names is its own.
std::string provenance_json(const GroupSpec& spec, const Config& run, const Dataset& data,
                            bool wanted);

}  // namespace tandem
