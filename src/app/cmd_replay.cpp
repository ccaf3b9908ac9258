// `tandem replay`: a finished run once more, and what differs from what is stored of it. The
// database is read and nothing is written: the run's rows are compared as they come, and training
// ends at the first step that differs.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "analysis/repetition.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "config/initial_file.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"
#include "data/content.h"
#include "jobs/device.h"
#include "jobs/initial_nets.h"
#include "jobs/progress.h"
#include "jobs/run_check.h"
#include "jobs/storage_choice.h"
#include "jobs/unstored.h"

namespace tandem {
namespace {

constexpr std::size_t kMostDifferences = 20;

void expect_ended(const RunRecord& run) {
  if (is_finished(run.state)) return;
  throw ConfigError(
      fmt::format("run {} is {}: a run is replayed once it is done or diverged, and has nothing to "
                  "be compared with before",
                  short_id(run.id), run.state));
}

// Where the net lay that a run began with; "" where it is not known.
std::string stored_initial_file(const StoreReader& store, const std::string& run) {
  const QueryResult found = store.query(
      "SELECT json_extract(p.json, '$.init.path') AS path FROM run r"
      " JOIN run_provenance l ON l.run = r.key JOIN provenance p ON p.id = l.provenance"
      " WHERE r.id = ?1 AND path IS NOT NULL ORDER BY l.attempt DESC LIMIT 1",
      {run});
  return found.rows.empty() ? "" : found.rows[0][0];
}

// The same run of this program, with what the command line says of the program, and the file of
// the net that it began with.
Config config_of(const RunRecord& run, const Settings& said, const StoreReader& store) {
  Settings values = Config::from_canonical(run.canonical).values();
  values["init_from"] = stored_initial_file(store, run.id);
  for (const auto& [name, value] : said) values[name] = value;
  // The runs in its company have other seeds and the same file.
  values["init_from"] = initial_file(Config::resolve(values, false));
  Config config = Config::resolve(values, false);
  if (config.id() == run.id) return config;
  throw ConfigError(fmt::format(
      "run {} was trained by a program that gave other results: for this one ({}) it would be the "
      "run {}. Replay it with the revision that `tandem why {}` names",
      short_id(run.id), version_text(), short_id(config.id()), short_id(run.id)));
}

bool ran_on_gpu(const StoreReader& store, const std::string& run) {
  const QueryResult found = store.query("SELECT device FROM v_run WHERE run = ?1", {run});
  return !found.rows.empty() && found.rows[0][0].rfind("cuda", 0) == 0;
}

// What is said, else a device of the kind that the run had, where there is one.
std::string device_of(const Config& config, bool said, const RunRecord& run, bool stored_on_gpu) {
  const std::string wanted = said || stored_on_gpu ? config.text("device") : "cpu";
  const std::string device = devices_of(resolve_device(wanted)).front();
  if (is_gpu(device) != stored_on_gpu) {
    log_warn(fmt::format("run {} was trained on a {}, and is replayed on {}: these round otherwise",
                         short_id(run.id), stored_on_gpu ? "GPU" : "CPU", device));
  }
  return device;
}

// As at the run's first plan; none where that was not kept.
StorageChooser stored_storage(const RunRecord& run, bool on_gpu) {
  if (!run.storage) return storage_chooser();
  const std::vector<Storage> storage = storages_of_text(*run.storage);
  if (on_gpu && any_sparse(storage)) {
    throw ConfigError(
        fmt::format("run {} was stored sparsely, which a CPU alone can do; say --device cpu",
                    short_id(run.id)));
  }
  return [storage](const Config&, const std::string&) { return storage; };
}

// The net that the run began with, where it was given, must be there again.
void expect_initial_net(const Config& config) {
  const std::string &path = config.text("init_from"), &hash = config.text("init_hash");
  if (hash.empty()) return;
  if (!path.empty() && !path_exists(path)) {
    throw DataError(fmt::format(
        "run {} began with the net {} of the content {}, and {} is not there any more: say where "
        "the file is with --init-from",
        short_id(config.id()), config.text("init_net"), hash, path));
  }
  check_initial_nets({config});
  const std::string found = sha256_file(path);
  if (found == hash) return;
  throw DataError(
      fmt::format("run {} began with the net {} of the content {}, and {} has the content {} "
                  "now: say where the file is with --init-from",
                  short_id(config.id()), config.text("init_net"), hash, path, found));
}

// What the run leaves now, up to the end or to a step that differs.
struct Repetition {
  RunTrace trace;
  std::int64_t step = 0;  // the last of which rows came
  std::string provenance;
  std::optional<StateRow> end;

  void add(const Row& row) {
    add_to_trace(trace, row);
    if (!trace.empty()) step = std::max(step, trace.rbegin()->first);
    if (const auto* place = std::get_if<ProvenanceRow>(&row.body)) provenance = place->json;
    const auto* now = std::get_if<StateRow>(&row.body);
    if (now != nullptr && is_finished(now->state)) end = *now;
  }
};

// On a GPU a product is rounded by how many replicas it is of, so that a run comes out the same
// only in a group of as many. Who they are does not matter: the run itself with other seeds.
std::vector<Config> in_company(const Config& config, const StoreReader& store) {
  std::vector<Config> runs = {config};
  const QueryResult stored = store.query(
      "SELECT json_extract(p.json, '$.group_size') FROM run r JOIN provenance p ON p.id ="
      " r.provenance WHERE r.id = ?1",
      {config.id()});
  if (stored.rows.empty() || stored.null[0][0]) return runs;
  const std::int64_t size = parse_integer(stored.rows[0][0]).value_or(1);
  Settings said = config.values();
  for (std::int64_t i = 1; i < size; ++i) {
    said["seed"] = std::to_string(config.integer("seed") + i);
    runs.push_back(Config::resolve(said, false));
  }
  return runs;
}

Repetition train_again(const GridPlan& plan, const std::string& device, const RunTrace& stored) {
  const GroupPlan& group = plan.groups.front();
  Progress progress(plan, 1, stderr);
  progress.group_started(group, 1);
  Repetition now;
  train_unstored(group, device, progress, [&](const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      if (row.run == group.runs.front().id()) now.add(row);
    }
    // Rows of its last step may still be on their way.
    return !compare_traces(stored, now.trace, now.step).differs;
  });
  progress.clear();
  return now;
}

void print_places(const std::vector<std::string>& places, const std::string& now) {
  if (places.empty() || now.empty()) {
    fmt::print("where it was trained is not stored\n");
    return;
  }
  const std::vector<std::string> lines = provenance_differences(places, now);
  if (lines.empty()) {
    fmt::print(
        "nothing that is stored of where it was trained differs: revision, processor, device, "
        "threads, libraries and data are the same\n");
    return;
  }
  fmt::print("what differs from where it was trained:\n");
  for (const std::string& line : lines) fmt::print("  {}\n", line);
}

void print_agreed(const TraceComparison& comparison) {
  if (comparison.steps == 0) {
    fmt::print("nothing was stored of a step before it\n");
    return;
  }
  fmt::print("agreed before it: {} step{}, up to step {}: {}\n", comparison.steps,
             comparison.steps == 1 ? "" : "s", comparison.last, counts_text(comparison));
}

std::string end_text(const std::string& state, std::int64_t step) {
  return fmt::format("{} after {} steps", state, step);
}

ExitCode print_result(const RunRecord& run, const TraceComparison& comparison,
                      const Repetition& now, const std::vector<std::string>& places,
                      bool has_digests) {
  const std::string id = short_id(run.id);
  if (comparison.differs) {
    fmt::print("run {}: differs first at step {}\n", id, *comparison.differs);
    const auto& all = comparison.differences;
    for (std::size_t i = 0; i < std::min(all.size(), kMostDifferences); ++i) {
      fmt::print("  {}\n", difference_text(all[i]));
    }
    if (all.size() > kMostDifferences) {
      fmt::print("  ... and {} more\n", all.size() - kMostDifferences);
    }
    print_agreed(comparison);
    print_places(places, now.provenance);
    return kExitDiffers;
  }
  const std::string stored_end = end_text(run.state, run.step);
  const std::string end = now.end ? end_text(now.end->state, now.end->step) : "unfinished";
  if (end != stored_end) {
    fmt::print("run {}: ended as {}, and now as {}; all else agrees: {}\n", id, stored_end, end,
               counts_text(comparison));
    print_places(places, now.provenance);
    return kExitDiffers;
  }
  const std::string counts = counts_text(comparison);
  fmt::print("run {}: the same to the bit: {}\n", id, counts.empty() ? end : counts);
  if (!has_digests) {
    fmt::print(
        "it has no digests of its weights (it was trained before there were any): evaluations and "
        "topology updates alone were compared\n");
  }
  return kExitDone;
}

ExitCode run_replay(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  if (parsed.positionals.size() != 1) throw ConfigError("tandem replay needs one run's id");
  Settings of_program = parsed.settings;
  of_program.erase("init_from");
  const std::string database = database_of(of_program);
  const StoreReader store(database);
  const RunRecord run = store.find_run(parsed.positionals.front());
  expect_ended(run);
  const Config config = config_of(run, parsed.settings, store);
  set_log_level(config.text("log_level"));
  const RunTrace stored = stored_trace(store, run.id);
  const auto has_digests = std::any_of(stored.begin(), stored.end(), [](const auto& step) {
    return std::any_of(step.second.begin(), step.second.end(),
                       [](const auto& each) { return each.first.kind == TraceKey::Kind::kDigest; });
  });
  if (stored.empty() && run.state == "done") {
    throw StoreError(
        fmt::format("{} has no rows of run {} to compare with", database, short_id(run.id)));
  }
  const std::vector<std::string> places = stored_provenance(store, run.id);
  const std::string device =
      device_of(config, parsed.settings.count("device") != 0, run, ran_on_gpu(store, run.id));
  const StorageChooser storage = stored_storage(run, is_gpu(device));
  expect_content(config);
  check_all({config}, device, storage);
  expect_initial_net(config);
  GridPlan plan;
  GroupPlan& group = plan.groups.emplace_back();
  group.runs = is_gpu(device) ? in_company(config, store) : std::vector<Config>{config};
  group.storage = storage(config, device);
  const Repetition now = train_again(plan, device, stored);
  return print_result(run, compare_traces(stored, now.trace), now, places, has_digests);
}

TANDEM_REGISTERED = declare_command(
    {.name = "replay",
     .summary = "train a finished run again and say whether it is the same to the bit",
     .usage = "replay RUN [--db PATH] [--device DEVICE] [--data-dir FOLDER] [--init-from FILE]",
     .text = "RUN is the first digits of a run's id. It is trained on the kind of device that it "
             "had, alone or, on a GPU, in a group as large as its own was, and what it leaves is "
             "compared with what is stored: digests of its "
             "tensors, masks after topology updates, evaluations. Where a step differs, training "
             "ends there, and the tensors are named, and in what the two places differ. The "
             "database is only read, and nothing is kept. A run that began with a net from a "
             "file needs that file. Exit code 4 where something differs.",
     .run = run_replay});

}  // namespace
}  // namespace tandem
