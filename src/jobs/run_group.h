// Runs one group of replicas from its beginning, or from its checkpoint, to its end. Everything
// that a worker process does with tensors happens here.
#pragma once

#include "plan/group.h"

namespace tandem {

enum class GroupEnd { kDone, kStopped };

GroupEnd run_group(const GroupSpec& spec, RowSink& sink);

constexpr int kCheckpointFormat = 4;  // of a group's state

// False where the folder's checkpoint has a state of another format: run_group() begins anew there.
// What is damaged is none of another version.
bool is_of_this_version(const std::string& checkpoint_folder);

}  // namespace tandem
