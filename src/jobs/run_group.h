// Runs one group of replicas from its beginning, or from its checkpoint, to its end. Everything
// that a worker process does with tensors happens here.
#pragma once

#include "plan/group.h"

namespace tandem {

enum class GroupEnd { kDone, kStopped };

GroupEnd run_group(const GroupSpec& spec, RowSink& sink);

}  // namespace tandem
