// `tandem db`: care of a results database.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "analysis/export.h"
#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text.h"
#include "jobs/planner.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr const char* kShareEnding = ".sql.xz";

const Option kDbGrid =
    text_option("grid", "merge, share, export: these grids alone, joined by ','");
const Option kDbRename =
    text_option("rename", "merge: the other file's grid OLD is called NEW here, OLD=NEW");
const Option kDbSeries = text_option(
    "series",
    "share: metrics of which every step is kept, of runs that are no trials; joined by ','");
const Option kDbMost = {.name = "most_kb",
                        .type = OptionType::kInt,
                        .default_value = "1000",
                        .neutral = "1000",
                        .help =
                            "share: leave out metrics, first of tuning trials and then of single "
                            "layers, until the file has at most so many kB",
                        .minimum = 1,
                        .maximum = 1000};
const Option kDbOut = text_option("out", "export, share: file to write");
const Option kDbFormat = {.name = "format",
                          .type = OptionType::kChoice,
                          .default_value = "long",
                          .neutral = "long",
                          .help =
                              "export: a CSV row per number (long) or per run (wide), a line of "
                              "JSON per run, or the whole database as SQL",
                          .choices = {"long", "wide", "json", "sql"}};
const Option kDbDry = {.name = "dry_run",
                       .type = OptionType::kFlag,
                       .default_value = "false",
                       .neutral = "false",
                       .help = "prune: say what would go, and change nothing"};

struct DbRequest {
  std::string action, database;
  std::vector<std::string> files;  // of merge
  std::optional<std::vector<std::string>> grids;
  const ParsedArguments* parsed = nullptr;

  std::string said(const Option& option) const { return extra_value(*parsed, option); }
};

std::string disk_text(double bytes) {
  constexpr const char* kUnits[] = {"bytes", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} {}", bytes, kUnits[unit])
                   : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::vector<std::string> names_in(const std::string& text) {
  std::vector<std::string> items;
  for (const std::string& item : split(text, ',')) {
    if (!trim(item).empty()) items.push_back(trim(item));
  }
  return items;
}

ExitCode check(const DbRequest& request) {
  const std::string& database = request.database;
  if (!path_exists(database)) StoreReader{database};  // says what is missing, and makes no file
  const std::vector<std::string> faults = StoreWriter(database).faults();
  for (const std::string& fault : faults) fmt::print("{}\n", fault);
  const StoreReader store(database);
  fmt::print("{}: {} runs, schema version {}, {}\n", database,
             store.query("SELECT count(*) FROM run").rows[0][0], kStoreVersion,
             faults.empty() ? "no faults" : std::to_string(faults.size()) + " faults");
  return faults.empty() ? kExitDone : kExitStore;
}

std::vector<std::pair<std::string, std::string>> renamed_of(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& item : names_in(text)) {
    const std::size_t at = item.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == item.size()) {
      throw ConfigError(fmt::format(
          "--rename: '{}' is not allowed; expected OLD=NEW, two names of a grid", item));
    }
    pairs.emplace_back(trim(item.substr(0, at)), trim(item.substr(at + 1)));
  }
  return pairs;
}

// Weights of a result that gave way are not those of the numbers any more.
void set_weights_aside(const std::string& database, const std::vector<std::string>& replaced) {
  std::vector<std::string> aside;
  for (const std::string& run : replaced) {
    const std::string folder = checkpoint_root(database) + "/final/" + run;
    if (!path_exists(folder)) continue;
    std::string other = folder + ".replaced";
    for (int i = 2; path_exists(other); ++i) other = fmt::format("{}.replaced_{}", folder, i);
    std::error_code error;
    std::filesystem::rename(folder, other, error);
    if (error) {
      throw StoreError(fmt::format(
          "{} can't be renamed ({}); its weights are not those of the run's numbers any more",
          folder, error.message()));
    }
    aside.push_back(other);
  }
  if (aside.empty()) return;
  log_warn(
      fmt::format("{} run{} the numbers of another training now: the weights here are set "
                  "aside ({}{}), and go with `tandem db prune`",
                  aside.size(), aside.size() == 1 ? " has" : "s have", aside.front(),
                  aside.size() == 1 ? "" : ", ..."));
}

ExitCode merge(const DbRequest& request) {
  if (request.files.empty()) {
    throw ConfigError(
        "tandem db merge needs the files that are merged into the database: tandem db merge FILE "
        "... [--db PATH]");
  }
  for (const std::string& file : request.files) {
    if (!path_exists(file)) {
      throw StoreError(file + ": there is no such file; name databases or dumps (.sql, .sql.xz)");
    }
  }
  const bool made = !path_exists(request.database);
  std::optional<StoreWriter> store;
  store.emplace(request.database);
  StoreWriter& writer = *store;
  // A database that is made for nothing goes away again.
  struct Made {
    bool for_nothing;
    const std::string& path;
    std::optional<StoreWriter>& store;
    ~Made() {
      if (!for_nothing) return;
      store.reset();
      std::remove(path.c_str());
      std::remove((path + ".lock").c_str());
    }
  } result{made, request.database, store};
  for (const std::string& file : request.files) {
    const MergeReport report = writer.merge(
        {.file = file, .grids = request.grids, .renamed = renamed_of(request.said(kDbRename))});
    result.for_nothing = false;
    set_weights_aside(request.database, report.replaced);
    const auto replaced = static_cast<std::int64_t>(report.replaced.size());
    fmt::print("{}: {} runs: {} added, {} replaced by a later result, {} there already{}\n", file,
               report.runs, report.added, replaced,
               report.runs - report.added - replaced - report.unfinished,
               report.unfinished == 0 ? ""
                                      : fmt::format(", {} not ended (they go on where they began)",
                                                    report.unfinished));
    if (report.differing == 0) continue;
    log_warn(fmt::format(
        "{} runs have ended in both with other evaluations, so that something beside their configs "
        "differs (machine, threads, libraries): {}{}. The result that stays does not depend on the "
        "order of merging",
        report.differing, join(report.named, ", "),
        static_cast<std::int64_t>(report.named.size()) < report.differing ? ", ..." : ""));
  }
  return kExitDone;
}

// A file that appears whole, or standard output.
void write_out(const std::string& out,
               const std::function<void(const std::function<void(std::string_view)>&)>& fill) {
  if (out.empty()) {
    fill([](std::string_view piece) { fmt::print("{}", piece); });
    return;
  }
  OutputFiles files;
  files.add(out,
            [&](FileSink& sink) { fill([&sink](std::string_view piece) { sink.write(piece); }); });
  files.commit();
}

std::vector<std::string> ids_to_export(const DbRequest& request, const StoreReader& store) {
  std::vector<std::string> ids;
  if (request.grids) {
    std::set<std::string> seen;
    for (const std::string& grid : *request.grids) {
      for (const RunRecord& run : store.runs_of_grid(grid)) {
        if (seen.insert(run.id).second) ids.push_back(run.id);
      }
    }
    return ids;
  }
  for (const auto& row : store.query("SELECT id FROM run ORDER BY key").rows) ids.push_back(row[0]);
  return ids;
}

ExitCode export_results(const DbRequest& request) {
  const std::string format = request.said(kDbFormat);
  const std::map<std::string, ExportFormat> formats = {
      {"long", ExportFormat::kLong}, {"wide", ExportFormat::kWide}, {"json", ExportFormat::kJson}};
  write_out(request.said(kDbOut), [&](const std::function<void(std::string_view)>& write) {
    if (format == "sql") {
      dump_runs(request.database, request.grids, write);
    } else {
      const StoreReader store(request.database);
      export_runs(store, ids_to_export(request, store), formats.at(format), write);
    }
  });
  return kExitDone;
}

ExitCode share(const DbRequest& request) {
  std::string out = request.said(kDbOut);
  if (out.empty()) out = std::string("runs") + kShareEnding;
  if (!out.ends_with(kShareEnding) || out == kShareEnding) {
    throw ConfigError(fmt::format("--out: '{}' is not allowed; expected a name that ends in {}",
                                  out, kShareEnding));
  }
  const SharedRuns shared =
      share_runs({.database = request.database,
                  .grids = request.grids,
                  .series = names_in(request.said(kDbSeries)),
                  .most_bytes = *parse_integer(request.said(kDbMost)) * 1000});
  OutputFiles files;
  files.add(out, shared.bytes);
  files.commit();
  fmt::print("{}: {} runs, {}; left out: {}\n", out, shared.runs,
             disk_text(static_cast<double>(shared.bytes.size())), join(shared.left_out, "; "));
  return kExitDone;
}

ExitCode prune(const DbRequest& request) {
  if (!path_exists(request.database)) StoreReader{request.database};  // says what is missing
  const bool dry = request.said(kDbDry) == "true";
  StoreWriter writer(request.database);
  std::vector<RunRecord> kept = StoreReader(request.database).runs();
  // One with a checkpoint goes on from it when it is asked for again.
  const std::vector<std::string> stored = stored_group_runs(request.database);
  const std::set<std::string> go_on(stored.begin(), stored.end());
  const auto is_lost = [&go_on](const RunRecord& run) {
    return run.state == "failed" && go_on.count(run.id) == 0;
  };
  std::vector<std::string> failed;
  for (const RunRecord& run : kept) {
    if (is_lost(run)) failed.push_back(run.id);
  }
  std::erase_if(kept, is_lost);
  const std::vector<Leftover> files = leftovers(request.database, kept);
  const auto [before, after] = writer.prune(failed, dry);
  std::map<std::string, std::pair<int, std::uintmax_t>> kinds;
  std::uintmax_t freed = 0;
  for (const Leftover& file : files) {
    auto& [count, bytes] = kinds[file.what];
    ++count;
    bytes += file.bytes;
    freed += file.bytes;
    if (!dry) remove_leftover(file);
  }
  const char* verb = dry ? "would go" : "removed";
  fmt::print("failed runs {}: {}\n", verb, failed.size());
  fmt::print("database: {} before, {} after\n", disk_text(static_cast<double>(before)),
             disk_text(static_cast<double>(after)));
  for (const auto& [what, of_kind] : kinds) {
    fmt::print("{} {}: {}, {}\n", what, verb, of_kind.first,
               disk_text(static_cast<double>(of_kind.second)));
  }
  fmt::print("{} of disk {}\n",
             disk_text(static_cast<double>(before - after) + static_cast<double>(freed)),
             dry ? "would be freed" : "freed");
  return kExitDone;
}

// What each action does, and the options that it reads beside --db.
struct DbAction {
  std::function<ExitCode(const DbRequest&)> run;
  std::vector<const Option*> reads = {};
};

const std::map<std::string, DbAction>& db_actions() {
  static const std::map<std::string, DbAction> all = {
      {"check", {check}},
      {"export", {export_results, {&kDbFormat, &kDbGrid, &kDbOut}}},
      {"merge", {merge, {&kDbGrid, &kDbRename}}},
      {"prune", {prune, {&kDbDry}}},
      {"share", {share, {&kDbGrid, &kDbSeries, &kDbMost, &kDbOut}}}};
  return all;
}

ExitCode run_db(const Arguments& args) {
  const std::vector<Option> options = {kDbGrid, kDbRename, kDbSeries, kDbMost,
                                       kDbOut,  kDbFormat, kDbDry};
  const ParsedArguments parsed = parse_arguments(args, options);
  std::vector<std::string> names;
  for (const auto& [name, action] : db_actions()) names.push_back(name);
  if (parsed.positionals.empty()) {
    throw ConfigError("tandem db needs to know what to do: " + join(names, ", "));
  }
  DbRequest request{parsed.positionals.front(), database_of(parsed.settings), {}, {}, &parsed};
  const auto action = db_actions().find(request.action);
  if (action == db_actions().end()) {
    throw ConfigError(did_you_mean("part of tandem db", request.action, names));
  }
  request.files.assign(parsed.positionals.begin() + 1, parsed.positionals.end());
  if (request.action != "merge" && !request.files.empty()) {
    throw ConfigError(
        fmt::format("tandem db {} takes no file, '{}' was given; --db names the "
                    "database{}",
                    request.action, request.files.front(),
                    action->second.reads.empty() ? "" : " and --out what is written"));
  }
  for (const auto& [name, value] : parsed.extra) {
    const auto& reads = action->second.reads;
    if (std::none_of(reads.begin(), reads.end(),
                     [&name](const Option* option) { return option->name == name; })) {
      throw ConfigError(
          fmt::format("option '{}' is not for tandem db {}; leave it out", name, request.action));
    }
  }
  if (!request.said(kDbGrid).empty()) request.grids = names_in(request.said(kDbGrid));
  return action->second.run(request);
}

TANDEM_REGISTERED = declare_command(
    {.name = "db",
     .summary = "look after a results database: merge, check, export, share, prune",
     .usage = "db merge FILE ... [--grid NAME,...] [--rename OLD=NEW] [--db PATH]\n"
              "db check [--db PATH]\n"
              "db export [--format long|wide|json|sql] [--grid NAME,...] [--out FILE] [--db PATH]\n"
              "db share [--grid NAME,...] [--series METRIC,...] [--most-kb N] [--out NAME.sql.xz] "
              "[--db PATH]\n"
              "db prune [--dry-run] [--db PATH]",
     .text =
         "merge takes what other databases or dumps (.sql, .sql.xz) have and this one lacks, in "
         "any order and as often as you like: of two results of\none run an ended one stays, then "
         "the one of the later step, then that with more rows, then that with the greater hash.\n"
         "check brings a database of an earlier version forward, and then verifies it: that the "
         "file is whole, that no row points at\nnothing, that ids, typed configs and final "
         "results fit what the runs logged.\n"
         "export writes results for other programs (as SQL, runs of a --grid that have not ended "
         "are named alone); share writes what a result page rests on, for "
         "a repository: final rows without names of\nhosts and places of files, at most 1 MB.\n"
         "prune removes failed runs without a checkpoint, checkpoints that no run goes on from and "
         "the events of earlier attempts. Before it looks,\nit brings a database of an earlier "
         "version forward, with --dry-run too.",
     .options = {kDbGrid, kDbRename, kDbSeries, kDbMost, kDbOut, kDbFormat, kDbDry},
     .takes_config = false,
     .run = run_db});

}  // namespace
}  // namespace tandem
