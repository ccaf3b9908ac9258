// The writer's side: starts workers by exec of the program itself, one group each, commits their
// rows in batches, acknowledges what is committed, retries a group whose worker failed once from
// its checkpoint, and stops politely. Single-threaded: one poll() loop over all pipes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "jobs/planner.h"
#include "store/store.h"

namespace tandem {

struct PoolOptions {
  std::string database;  // path; its name goes into group.json
  int jobs = 1;
  std::string device = "cpu";
  double checkpoint_every_s = 60;
  std::int64_t stop_after_steps = 0;  // handed to GroupSpec
  double commit_every_s = 0.5;
  std::size_t commit_rows = 1000;
  int attempts = 2;
  std::string program = "/proc/self/exe";
  std::vector<std::string> arguments = {"worker"};
};

struct RunFailure {
  std::string run, message;
  ExitCode code = kExitBug;
};

struct PoolResult {
  std::int64_t done = 0, diverged = 0;
  std::vector<RunFailure> failures;
  bool stopped = false;  // by a signal: what is unfinished has a checkpoint, or starts anew
};

// Told what happens, in the pool's thread.
class PoolObserver {
 public:
  virtual ~PoolObserver() = default;
  virtual void group_started(const GroupPlan& /*group*/, int /*attempt*/) {}
  virtual void group_ended(const GroupPlan& /*group*/) {}
  virtual void rows_committed(const std::vector<Row>& /*rows*/) {}
  // Steps of its training that a running group has behind it, of all.
  virtual void group_progressed(const GroupPlan& /*group*/, std::int64_t /*done*/,
                                std::int64_t /*all*/) {}
  virtual void tick() {}  // several times a second
};

// Runs all groups. A run that fails is marked so and the others go on; StoreError where the results
// can't be written. Needs core/interrupt's handlers for a polite stop.
PoolResult run_groups(StoreWriter& store, const std::vector<GroupPlan>& groups,
                      const PoolOptions& options, PoolObserver& observer);

}  // namespace tandem
