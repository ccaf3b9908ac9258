// From the runs that are wanted, and the store, to groups of replicas: stored groups are resumed
// unchanged, the rest is grouped by key, cut so that every worker has something to do, and ordered
// longest first.
//
// A stored group is a folder of checkpoints below `checkpoint_root`, which belongs to its database,
// named by the hash of the database's name and the sorted run ids, with a group.json that names
// both, and the storages of its layers, which the checkpoint's tensors have. It counts only while
// all of its runs have begun in this database: rows before its checkpoint are nowhere else.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "jobs/storage_choice.h"
#include "jobs/working_set.h"
#include "plan/group.h"
#include "plan/stretch.h"
#include "store/store.h"

namespace tandem {

struct GroupPlan {
  std::vector<Config> runs;
  // A stored group has ids of runs that nobody wants any more, and of those that are finished.
  std::vector<std::string> frozen, finished;
  std::vector<Storage> storage = {};  // as in TrainerOptions; of a stored group what it began with
  std::string folder;
  bool resumed = false;
  std::optional<double> predicted_seconds;  // on one worker; none without earlier runs of the kind
};

struct PlannerInput {
  std::vector<Config> wanted;
  // Those of the store that are wanted or in stored groups, and others that tell how long runs
  // take.
  std::vector<RunRecord> known;
  std::string database;  // path
  std::string device = "cpu";
  int jobs = 1;
  std::function<std::string(const Config&)> key = group_key;
  std::function<std::int64_t(const Config&, const std::string&, const std::vector<Storage>&)> size =
      group_size;
  // Chooses the storage of runs that have none in the store yet; it is part of a group's key. Where
  // there is no chooser, the configs decide.
  StorageChooser storage = {};
  StretchOf stretch = stretch_finder();
};

struct GridPlan {
  std::vector<GroupPlan> groups;              // in the order in which they start
  std::vector<std::string> finished;          // wanted runs that are done or diverged
  std::vector<std::string> useless_folders;   // of finished groups, and of no use to this database
  std::vector<std::string> outdated_folders;  // of another version: their wanted runs begin anew
  std::optional<double> predicted_seconds;    // of the whole, on `jobs` workers
};

GridPlan plan_groups(const PlannerInput& input);

bool is_finished(const std::string& state);  // done or diverged

// Ids of all runs whose groups have a folder of checkpoints.
std::vector<std::string> stored_group_runs(const std::string& database);

// checkpoints/NAME beside the database, NAME being its file's.
std::string checkpoint_root(const std::string& database);
// Where a run's final weights lie. Earlier versions kept those of all databases of a folder
// together; such a place is named only where the database has none of its own.
std::string final_folder(const std::string& database, const std::string& run);
// Moves a stored group that an earlier version left outside of checkpoint_root into it. Throws
// StoreError.
void adopt_group(const std::string& database, GroupPlan& group);
std::string group_folder(const std::string& database, const std::vector<Config>& runs);
void write_group_file(const std::string& database, const GroupPlan& group);  // throws StoreError
// Unless a worker still holds its lock (of a writer that was killed; it is about to stop).
void remove_group_folder(const std::string& folder);

// What lies beside a database and none of its runs needs: checkpoints that no run goes on from,
// final weights of runs that it doesn't have, files that were set aside as damaged.
struct Leftover {
  std::string path;
  std::string what;  // "checkpoints", "final weights", "damaged files"
  std::uintmax_t bytes = 0;
};
// `runs`: those that the database has, or keeps.
std::vector<Leftover> leftovers(const std::string& database, const std::vector<RunRecord>& runs);
void remove_leftover(const Leftover& leftover);

// The expected seconds of a run: the mean of earlier ones with the same (weights, attention, model,
// data, scenario, steps, epochs, batch), each over its stretch, times the run's own.
class TimePredictor {
 public:
  // `like`: a config that says where data lie; null: the defaults do.
  TimePredictor(const std::vector<RunRecord>& known, StretchOf stretch, const Config* like);
  std::optional<double> seconds(const Config& run) const;

 private:
  StretchOf stretch_;
  std::map<std::string, std::pair<double, int>> sums_;  // kind of run -> seconds, count
};

}  // namespace tandem
