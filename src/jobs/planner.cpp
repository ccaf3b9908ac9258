// Grouping, stored groups, and the prediction of times.
#include "jobs/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "config/option.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "jobs/checkpoint.h"
#include "jobs/device.h"
#include "jobs/run_group.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kGroupFile = "group.json";
const char* const kTimeKinds[] = {"weights",  "attention", "model",  "data",
                                  "scenario", "steps",     "epochs", "batch"};

std::string database_name(const std::string& database) {
  return fs::path(database_file(database)).filename().string();
}

using Known = std::map<std::string, const RunRecord*>;

Known by_id(const std::vector<RunRecord>& records) {
  Known known;
  for (const auto& record : records) known[record.id] = &record;
  return known;
}

struct StoredGroup {
  std::string folder, database;
  std::vector<std::string> ids;
  std::set<std::string> frozen;  // stood still while the others went on: they can't catch up here
  std::vector<Storage> storage;
};

// Folders whose group.json is missing or torn are none of ours, or were never begun.
std::optional<StoredGroup> read_group(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / kGroupFile, error)) return std::nullopt;
  try {
    const json j = json::parse(read_file((folder / kGroupFile).string()));
    return StoredGroup{folder.string(), j.at("database").get<std::string>(),
                       j.at("runs").get<std::vector<std::string>>(),
                       j.value("frozen", std::set<std::string>()),
                       storages_of_text(j.value("storage", ""))};
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const StoreError&) {  // a storage that another version has
    return std::nullopt;
  }
}

std::string folder_of_all(const std::string& database) {
  const fs::path parent = fs::path(database_file(database)).parent_path();
  return ((parent.empty() ? fs::path(".") : parent) / "checkpoints").string();
}

// Those of earlier versions lie among the groups of all databases of the folder.
std::vector<StoredGroup> stored_groups(const std::string& database) {
  std::vector<StoredGroup> groups;
  for (const std::string& root : {checkpoint_root(database), folder_of_all(database)}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root, error)) {
      if (!entry.is_directory(error)) continue;
      auto group = read_group(entry.path());
      if (group && group->database == database_name(database)) groups.push_back(std::move(*group));
    }
  }
  std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
    return fs::path(a.folder).filename() < fs::path(b.folder).filename();
  });
  return groups;
}

// A run that isn't wanted is made from the store's canonical form, with the paths and the like of
// the wanted ones; none where this program doesn't know what it says.
std::optional<Config> config_of(const RunRecord& record, const Config* like) {
  try {
    Settings said = Config::from_canonical(record.canonical).values();
    for (const auto& option : all_options()) {
      if (option.scope != OptionScope::kProgram) continue;
      said[option.name] = like != nullptr ? like->text(option.name) : option.default_value;
    }
    return Config::resolve(said, false);
  } catch (const ConfigError&) {
    return std::nullopt;
  }
}

// None where this program is of another revision.
std::optional<Config> revived(const RunRecord& record, const Config& like) {
  auto config = config_of(record, &like);
  if (config && config->id() != record.id) config.reset();
  return config;
}

class Planner {
 public:
  explicit Planner(const PlannerInput& input)
      : input_(input),
        known_(by_id(input.known)),
        times_(input.known, input.stretch, input.wanted.empty() ? nullptr : &input.wanted.front()) {
    for (const auto& run : input.wanted) wanted_[run.id()] = &run;
  }

  GridPlan plan() {
    note_finished();
    for (const auto& stored : stored_groups(input_.database)) consider(stored);
    group_the_rest();
    order();
    return std::move(plan_);
  }

 private:
  bool finished(const std::string& id) const {
    const auto found = known_.find(id);
    return found != known_.end() && is_finished(found->second->state);
  }

  void note_finished() {
    for (const auto& run : input_.wanted) {
      if (finished(run.id())) plan_.finished.push_back(run.id());
    }
  }

  bool begun(const std::string& id) const {
    const auto found = known_.find(id);
    return found != known_.end() && found->second->attempt > 0;
  }

  void consider(const StoredGroup& stored) {
    const auto& ids = stored.ids;
    const bool ours =
        std::all_of(ids.begin(), ids.end(), [&](const auto& id) { return begun(id); });
    const bool open =
        std::any_of(ids.begin(), ids.end(), [&](const auto& id) { return !finished(id); });
    if (!ours || !open || !has_checkpoint(stored.folder)) {
      plan_.useless_folders.push_back(stored.folder);
      return;
    }
    const bool wanted = std::any_of(ids.begin(), ids.end(), [&](const auto& id) {
      return wanted_.count(id) != 0 && !finished(id) && placed_.count(id) == 0 &&
             stored.frozen.count(id) == 0;
    });
    if (!wanted) return;
    if (is_of_this_version(stored.folder)) {
      resume(stored);
    } else {
      plan_.outdated_folders.push_back(stored.folder);
    }
  }

  bool is_wanted(const std::string& id) const { return wanted_.count(id) != 0; }

  void resume(const StoredGroup& stored) {
    GroupPlan group;
    group.folder = stored.folder;
    group.resumed = true;
    group.storage = stored.storage;
    const Config& like = *wanted_.at(*std::find_if(  // of the same data
        stored.ids.begin(), stored.ids.end(), [&](const auto& id) { return is_wanted(id); }));
    for (const auto& id : stored.ids) {
      const auto found = wanted_.find(id);
      auto config = found != wanted_.end() ? std::optional<Config>(*found->second)
                                           : revived(*known_.at(id), like);
      if (!config) return;
      if (finished(id)) {
        group.finished.push_back(id);
      } else if (found == wanted_.end() || stored.frozen.count(id) != 0) {
        group.frozen.push_back(id);
      }
      group.runs.push_back(std::move(*config));
    }
    if (any_sparse(stored.storage) && is_gpu(input_.device)) {
      throw DeviceError(fmt::format(
          "the stopped group in {} has sparse connections, which live on the CPU only: resume it "
          "with --device cpu, or remove that folder to begin its {} runs anew",
          stored.folder, stored.ids.size()));
    }
    for (const auto& id : stored.ids) {
      if (stored.frozen.count(id) == 0) placed_.insert(id);  // else it begins anew elsewhere
    }
    predict(group);
    plan_.groups.push_back(std::move(group));
  }

  // Runs of one key and one choice of storages, in the order in which they are wanted.
  struct Class {
    std::vector<Config> runs;
    std::vector<Storage> storage;
    std::size_t chunks = 1;
    std::size_t largest() const { return (runs.size() + chunks - 1) / chunks; }
  };

  // What was chosen when the run was first planned stays. One that has never begun may choose anew
  // where the device can't have that.
  std::vector<Storage> storage_of(const Config& run) const {
    const auto known = known_.find(run.id());
    if (known != known_.end() && known->second->storage) {
      std::vector<Storage> kept = storages_of_text(*known->second->storage);
      if (!any_sparse(kept) || !is_gpu(input_.device)) return kept;
      if (begun(run.id())) {
        throw DeviceError(fmt::format(
            "run {} was planned with sparse connections, which live on the CPU only: go on with it "
            "on --device cpu, or say --storage masked for a run of its own",
            short_id(run.id())));
      }
    }
    return input_.storage ? input_.storage(run, input_.device) : std::vector<Storage>();
  }

  std::vector<Class> classes_of_the_rest() {
    std::vector<Class> classes;
    std::map<std::string, std::size_t> index;
    for (const auto& run : input_.wanted) {
      const std::string id = run.id();
      if (finished(id) || !placed_.insert(id).second) continue;
      std::vector<Storage> storage = storage_of(run);
      const auto [at, added] =
          index.emplace(storages_text(storage) + "\n" + input_.key(run), classes.size());
      if (added) classes.push_back({{}, std::move(storage), 1});
      classes[at->second].runs.push_back(run);
    }
    return classes;
  }

  void group_the_rest() {
    std::vector<Class> classes = classes_of_the_rest();
    std::size_t chunks = plan_.groups.size(), total = 0;
    for (const auto& each : classes) total += each.runs.size();
    const auto jobs = static_cast<std::size_t>(std::max(1, input_.jobs));
    const auto gpus = static_cast<int>(devices_of(input_.device).size());
    for (auto& each : classes) {
      // Workers of one GPU share its memory.
      const auto sharing = is_gpu(input_.device) ? std::max(1, (input_.jobs + gpus - 1) / gpus) : 1;
      const auto whole = input_.size(each.runs.front(), input_.device, each.storage);
      const auto size = std::max<std::int64_t>(1, whole / sharing);
      const auto most = std::min(static_cast<std::size_t>(size), (total + jobs - 1) / jobs);
      each.chunks = (each.runs.size() + most - 1) / most;
      chunks += each.chunks;
    }
    share_out(classes, chunks);
    for (const auto& each : classes) cut(each);
  }

  // Until the number of groups is a multiple of the workers' (or large beside it), cuts the class
  // with the largest groups once more.
  void share_out(std::vector<Class>& classes, std::size_t chunks) const {
    const auto jobs = static_cast<std::size_t>(std::max(1, input_.jobs));
    while (chunks < 4 * jobs && chunks % jobs != 0) {
      const auto largest = std::max_element(
          classes.begin(), classes.end(),
          [](const Class& a, const Class& b) { return a.largest() < b.largest(); });
      if (largest == classes.end() || largest->largest() <= 1) return;
      ++largest->chunks;
      ++chunks;
    }
  }

  void cut(const Class& of_key) {
    const std::size_t n = of_key.runs.size();
    for (std::size_t i = 0; i < of_key.chunks; ++i) {
      const auto begin = of_key.runs.begin();
      GroupPlan group;
      group.runs.assign(begin + static_cast<std::ptrdiff_t>(n * i / of_key.chunks),
                        begin + static_cast<std::ptrdiff_t>(n * (i + 1) / of_key.chunks));
      if (group.runs.empty()) continue;
      group.folder = group_folder(input_.database, group.runs);
      group.storage = of_key.storage;
      predict(group);
      plan_.groups.push_back(std::move(group));
    }
  }

  void predict(GroupPlan& group) const {
    double sum = 0;
    for (const auto& run : group.runs) {
      const auto seconds = times_.seconds(run);
      if (!seconds) return;
      sum += finished(run.id()) ? 0 : *seconds;
    }
    group.predicted_seconds = sum;
  }

  // Stored groups first; then longest first, those of unknown length before all.
  void order() {
    const auto rank = [](const GroupPlan& group) {
      return std::pair(group.resumed ? 0 : 1, -group.predicted_seconds.value_or(1e300));
    };
    std::stable_sort(plan_.groups.begin(), plan_.groups.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    std::vector<double> busy(static_cast<std::size_t>(std::max(1, input_.jobs)), 0.0);
    for (const auto& group : plan_.groups) {
      if (!group.predicted_seconds) return;
      *std::min_element(busy.begin(), busy.end()) += *group.predicted_seconds;
    }
    plan_.predicted_seconds = *std::max_element(busy.begin(), busy.end());
  }

  const PlannerInput& input_;
  Known known_;
  TimePredictor times_;
  std::map<std::string, const Config*> wanted_;
  std::set<std::string> placed_;  // ids that are in a group already
  GridPlan plan_;
};

}  // namespace

bool is_finished(const std::string& state) { return state == "done" || state == "diverged"; }

std::vector<std::string> stored_group_runs(const std::string& database) {
  std::vector<std::string> ids;
  for (const StoredGroup& group : stored_groups(database)) {
    ids.insert(ids.end(), group.ids.begin(), group.ids.end());
  }
  return ids;
}

std::string checkpoint_root(const std::string& database) {
  return folder_of_all(database) + "/" + database_name(database);
}

std::string final_folder(const std::string& database, const std::string& run) {
  const std::string own = checkpoint_root(database) + "/final/" + run;
  const std::string shared = folder_of_all(database) + "/final/" + run;
  return !has_checkpoint(own) && has_checkpoint(shared) ? shared : own;
}

void adopt_group(const std::string& database, GroupPlan& group) {
  const fs::path root = checkpoint_root(database), folder = group.folder;
  if (folder.parent_path() == root) return;
  const std::string own = (root / folder.filename()).string();
  ensure_folder(root.string());
  std::error_code error;
  fs::rename(folder, own, error);
  if (error) {
    throw StoreError(fmt::format("{} can't be moved to {}, where checkpoints of {} lie: {}",
                                 group.folder, own, database, error.message()));
  }
  group.folder = own;
}

std::string group_folder(const std::string& database, const std::vector<Config>& runs) {
  std::vector<std::string> ids;
  for (const auto& run : runs) ids.push_back(run.id());
  std::sort(ids.begin(), ids.end());
  Sha256 hash;
  hash.update(database_name(database)).update("\n");
  for (const auto& id : ids) hash.update(id).update("\n");
  return checkpoint_root(database) + "/" + hash.finish().substr(0, 16);
}

void write_group_file(const std::string& database, const GroupPlan& group) {
  std::vector<std::string> ids;
  for (const auto& run : group.runs) ids.push_back(run.id());
  ensure_folder(group.folder);
  const json facts = {{"database", database_name(database)},
                      {"runs", ids},
                      {"frozen", group.frozen},
                      {"storage", storages_text(group.storage)}};
  atomic_write(group.folder + "/" + kGroupFile, facts.dump() + "\n");
}

namespace {

std::uintmax_t bytes_below(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return fs::file_size(path, error);
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  }
  return bytes;
}

// Whether some run goes on from the group's checkpoint: all have begun here, and one has not ended.
bool goes_on(const StoredGroup& group, const std::map<std::string, const RunRecord*>& runs) {
  bool open = false;
  for (const std::string& id : group.ids) {
    const auto run = runs.find(id);
    if (run == runs.end() || run->second->attempt == 0) return false;
    open = open || !is_finished(run->second->state);
  }
  return open;
}

}  // namespace

std::vector<Leftover> leftovers(const std::string& database, const std::vector<RunRecord>& runs) {
  std::map<std::string, const RunRecord*> by_id;
  for (const RunRecord& run : runs) by_id[run.id] = &run;
  std::vector<Leftover> found;
  const auto add = [&found](const fs::path& path, const char* what) {
    found.push_back({path.string(), what, bytes_below(path)});
  };
  const auto add_damaged = [&add](const fs::path& folder) {
    std::error_code error;
    for (const auto& file : fs::directory_iterator(folder, error)) {
      if (file.path().extension() == ".damaged") add(file.path(), "damaged files");
    }
  };
  const fs::path root = checkpoint_root(database);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (!entry.is_directory(error) || entry.path().filename() == "final") continue;
    const auto group = read_group(entry.path());
    if (lock_holder((entry.path() / "lock").string())) continue;
    if (group && group->database == database_name(database) && goes_on(*group, by_id)) {
      add_damaged(entry.path());
    } else {
      add(entry.path(), "checkpoints");
    }
  }
  for (const auto& entry : fs::directory_iterator(root / "final", error)) {
    if (by_id.count(entry.path().filename().string()) == 0) {
      add(entry.path(), "final weights");
    } else {
      add_damaged(entry.path());
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Leftover& a, const Leftover& b) { return a.path < b.path; });
  return found;
}

void remove_leftover(const Leftover& leftover) {
  std::error_code error;
  fs::remove_all(leftover.path, error);
  if (error) {
    throw StoreError(fmt::format("{} can't be removed: {}. Change its permissions and start again",
                                 leftover.path, error.message()));
  }
}

void remove_group_folder(const std::string& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) return;
  try {
    const FileLock lock(folder + "/lock");
    fs::remove_all(folder, error);
  } catch (const StoreError&) {
    return;
  }
}

GridPlan plan_groups(const PlannerInput& input) { return Planner(input).plan(); }

TimePredictor::TimePredictor(const std::vector<RunRecord>& known, StretchOf stretch,
                             const Config* like)
    : stretch_(std::move(stretch)) {
  for (const auto& record : known) {
    if (record.state != "done" || !(record.seconds > 0)) continue;
    const Settings values = values_of(record);
    std::optional<double> factor = 1.0;
    const auto match = values.find("match");
    if (match != values.end() && match->second != "steps") {
      const auto config = config_of(record, like);
      factor = config ? stretch_(*config) : std::nullopt;
    }
    if (!factor) continue;
    std::string kind;
    for (const char* name : kTimeKinds) {
      const auto found = values.find(name);
      kind += (found == values.end() ? "" : found->second) + "\n";
    }
    auto& [sum, count] = sums_[kind];
    sum += record.seconds / *factor;
    ++count;
  }
}

std::optional<double> TimePredictor::seconds(const Config& run) const {
  std::string kind;
  for (const char* name : kTimeKinds) kind += run.text(name) + "\n";
  const auto found = sums_.find(kind);
  if (found == sums_.end()) return std::nullopt;
  const std::optional<double> factor = stretch_(run);
  if (!factor) return std::nullopt;
  return *factor * found->second.first / found->second.second;
}

}  // namespace tandem
