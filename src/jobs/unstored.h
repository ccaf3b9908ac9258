// Training that leaves nothing behind: a worker of its own, without a database, checkpoints or
// final weights, whose rows go to who asked and nowhere else. The worker ends with this process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "jobs/planner.h"
#include "jobs/worker_pool.h"
#include "store/rows.h"

namespace tandem {

// `take` gets the rows in their order, and says whether more are wanted; the worker is stopped
// where they aren't. The group's folder counts for nothing. Throws, with its exit code, what the
// worker failed of.
void train_unstored(const GroupPlan& group, const std::string& device, PoolObserver& observer,
                    const std::function<bool(const std::vector<Row>&)>& take);

}  // namespace tandem
