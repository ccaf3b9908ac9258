// Where a run's numbers came from: revision, machine, libraries, threads, storages and data files,
// as one JSON object that the store keeps by its hash.
#pragma once

#include <string>

#include "data/dataset.h"
#include "plan/group.h"

namespace tandem {

std::string processor_name();  // "unknown" where the system doesn't tell
// Of one run of a group. `begins`: it begins here, so that where it has a net that is given, that
// was read from the file that the run names.
std::string provenance_json(const GroupSpec& spec, const Config& run, const Dataset& data,
                            bool begins);

}  // namespace tandem
