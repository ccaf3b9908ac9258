#include "app/run_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "config/initial_file.h"
#include "config/known_content.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"
#include "data/content.h"
#include "nn/initial_net.h"
#include "store/store.h"

namespace tandem {
namespace {

// Contents that stored runs on the run's data set (and corpus) have; "" is the known one, or that
// of a database from before contents were noted. Of a corpus, which has one file, the hash of that
// was recorded beside the run even then.
constexpr const char* kStoredContents =
    "SELECT DISTINCT coalesce(r.data_hash, '') AS content, CASE WHEN r.data_hash IS NULL AND "
    "r.corpus <> '' THEN coalesce(r.data_sha256, '') ELSE '' END AS recorded FROM v_run r WHERE "
    "r.data = ?1 AND coalesce(r.corpus, '') = ?2 AND (?3 = '' OR r.run IN (SELECT run_id FROM "
    "grid_run WHERE grid IN (?3, ?3 || '/tuning'))) ORDER BY content, recorded";

struct StoredContent {
  std::string said;  // the runs' data_hash
  std::string hash;  // what it stands for; "": unknown
};

std::vector<StoredContent> stored_contents(const Config& run, const ContentSearch& search) {
  if (!path_exists(search.database)) return {};
  if (search.use == ContentUse::kTrain) StoreWriter brought_forward(search.database);
  const std::string &data = run.text("data"), &corpus = run.text("corpus");
  std::vector<StoredContent> contents;
  const QueryResult found =
      StoreReader(search.database).query(kStoredContents, {data, corpus, search.grid});
  for (const auto& row : found.rows) {
    const std::string expected = expected_content(data, corpus, row[0]);
    contents.push_back({row[0], expected.empty() ? row[1] : expected});
  }
  return contents;
}

std::string shown(const std::string& hash) { return hash.empty() ? "unknown" : hash; }

bool names_its_files(const Config& run) {
  return !run.text("data_dir").empty() || !run.text("corpus").empty();
}

// None where the files can't be read and nobody asks for them.
std::optional<std::string> content_of_files(const Config& run, const ContentSearch& search) {
  try {
    return content_of(run);
  } catch (const DataError&) {
    if (search.use == ContentUse::kTrain && names_its_files(run)) throw;
    return std::nullopt;
  }
}

[[noreturn]] void refuse_several(const Config& run, const ContentSearch& search,
                                 const std::vector<StoredContent>& contents, const char* files) {
  std::vector<std::string> hashes;
  for (const auto& content : contents) hashes.push_back(shown(content.hash));
  throw DataError(
      fmt::format("{}: {}, and {} has runs on several contents ({}): say which with "
                  "--data-hash",
                  run.text("data"), files, search.database, join(hashes, ", ")));
}

Config without_files(const Config& run, const ContentSearch& search) {
  if (!run.text("data_hash").empty()) return with_content(run, run.text("data_hash"));
  std::vector<StoredContent> contents = stored_contents(run, search);
  if (contents.empty() && !search.grid.empty()) {
    contents = stored_contents(run, {.database = search.database});
  }
  if (contents.empty()) return run;
  const std::string& first = contents.front().said;
  const bool several = std::any_of(contents.begin(), contents.end(),
                                   [&first](const auto& each) { return each.said != first; });
  if (!several) return with_content(run, first);
  refuse_several(run, search, contents, "its files aren't on this machine");
}

// The stored runs on this content may say nothing of it. Then the run is one of theirs and says
// nothing either, so that what is stored is found and goes on.
bool is_unnoted(const Config& run, const ContentSearch& search, const std::string& hash) {
  if (run.text("corpus").empty()) return false;  // what is known goes without saying anyhow
  bool unnoted = false;
  for (const StoredContent& content : stored_contents(run, search)) {
    if (content.said == hash) return false;
    unnoted = unnoted || content.hash == hash;
  }
  return unnoted;
}

// The contents that stored runs of the grid were begun on, and that the files have no more. A grid
// is one set of runs on one content; its tables would lose those on the other.
std::vector<StoredContent> other_contents(const Config& filled, const ContentSearch& search,
                                          const std::string& own) {
  if (search.grid.empty()) return {};
  std::vector<StoredContent> others = stored_contents(filled, search);
  std::erase_if(others, [&own](const StoredContent& content) {
    return content.hash == own || content.hash.empty();
  });
  return others;
}

std::string begun_on(const Config& run, const ContentSearch& search, const StoredContent& stored,
                     const std::string& found) {
  return fmt::format("grid {} was begun in {} on the content {} of {}, and its files now have {}",
                     search.grid, search.database, shown(stored.hash), run.text("data"), found);
}

constexpr const char* kOnOtherContent =
    "runs on these would be new ones. Name the files that it was begun on with --data-dir or "
    "--corpus, another database with --db, or the grid by another name";

// Of runs that are read: what is stored counts, whatever the files of this machine are.
Config as_stored(const Config& filled, const ContentSearch& search,
                 const std::vector<StoredContent>& others, const std::string& found) {
  const std::string& own = filled.text("data_hash");
  const std::vector<StoredContent> stored = stored_contents(filled, search);
  const bool is_stored = std::any_of(stored.begin(), stored.end(), [&](const auto& content) {
    return content.said == own && content.hash == found;
  });
  if (others.empty() || is_stored) return filled;
  if (others.size() > 1) refuse_several(filled, search, others, "its files are others");
  const std::string differ = begun_on(filled, search, others.front(), found);
  log_warn_once(differ, differ + ": what is stored is shown");
  return with_content(filled, others.front().said);
}

// A net that runs begin with: SHA-256 of its file, and what tables call it.
struct FoundNet {
  std::string hash, name;
};

FoundNet net_of_file(const std::string& path) {
  const ContentMemory memory(content_file());
  FileStamp stamp = stamp_of({path});
  stamp.text = "initial net\n" + stamp.text;
  std::string hash = memory.find(stamp);
  if (hash.empty()) {
    hash = sha256_file(path);
    memory.remember(stamp, hash);
  }
  return {hash, InitialNet::map(path)->title(hash)};
}

// Nets that stored runs have begun with from this path.
constexpr const char* kStoredNets =
    "SELECT DISTINCT json_extract(p.json, '$.init.sha256'), json_extract(p.json, '$.init.net') "
    "FROM "
    "provenance p JOIN run_provenance l ON l.provenance = p.id WHERE json_extract(p.json, "
    "'$.init.path') = ?1 ORDER BY 1, 2";

std::vector<FoundNet> stored_nets(const std::string& path, const ContentSearch& search) {
  std::vector<FoundNet> nets;
  if (!path_exists(search.database)) return nets;
  for (const auto& row : StoreReader(search.database).query(kStoredNets, {whole_path(path)}).rows) {
    nets.push_back({row[0], row[1]});
  }
  return nets;
}

Config with_net(const Config& run, const FoundNet& net) {
  Settings said = run.given();
  said["init_hash"] = net.hash;
  if (run.text("init_net").empty()) said["init_net"] = net.name;
  return Config::resolve(said, false);
}

// What the hash of a net that nobody knows is called, so that the run is none that is stored.
constexpr const char* kUnknownNet = "unknown";

Config without_net_file(const Config& run, const std::string& path, const ContentSearch& search) {
  if (!run.text("init_hash").empty()) return run;
  const std::vector<FoundNet> stored = stored_nets(path, search);
  if (stored.size() == 1) return with_net(run, stored.front());
  if (stored.size() > 1) {
    std::vector<std::string> hashes;
    for (const FoundNet& net : stored) hashes.push_back(net.hash);
    throw DataError(fmt::format(
        "init_from: {} is not there, and {} has runs that began with several nets from this path "
        "({}): say which with --init-hash",
        path, search.database, join(hashes, ", ")));
  }
  if (search.use != ContentUse::kRead) {
    throw DataError(fmt::format(
        "init_from: {} is not there; name a file that `tandem export` has written ({{seed}} in "
        "the path stands for the run's seed, which is {} here)",
        path, run.text("seed")));
  }
  log_warn_once(
      path, fmt::format("init_from: {} is not there, and {} has no run that began with it", path,
                        search.database));
  return with_net(run, {kUnknownNet, ""});
}

// The run with the hash and the name of the net that it begins with.
Config with_found_net(const Config& run, const ContentSearch& search) {
  const std::string path = initial_file(run);
  if (path.empty()) return run;
  if (!path_exists(path)) return without_net_file(run, path, search);
  const FoundNet found = net_of_file(path);
  const std::string& said = run.text("init_hash");
  if (said.empty() || said == found.hash) return with_net(run, found);
  if (search.use == ContentUse::kRead) return run;
  throw DataError(fmt::format("{}: expected a net with init_hash = {}, found one with the hash {}",
                              path, said, found.hash));
}

Config with_found_data(const Config& run, const ContentSearch& search) {
  if (!has_content(run)) return run;
  const auto found = content_of_files(run, search);
  if (!found) return without_files(run, search);
  const std::string& said = run.text("data_hash");
  const bool is_read = search.use == ContentUse::kRead;
  if (!said.empty() && said != *found) {
    if (is_read) return with_content(run, said);
    throw DataError(
        fmt::format("{}: expected data with data_hash = {}, found data with the hash {}",
                    run.text("data"), said, *found));
  }
  const bool unnoted = said.empty() && is_unnoted(run, search, *found);
  const Config filled = with_content(run, unnoted ? "" : *found);
  const std::vector<StoredContent> others = other_contents(filled, search, *found);
  if (is_read) return as_stored(filled, search, others, *found);
  if (others.empty()) return filled;
  const std::string differ = begun_on(filled, search, others.front(), *found);
  if (search.use == ContentUse::kTrain) throw DataError(differ + "; " + kOnOtherContent);
  log_warn_once(differ,
                differ + ": `grid run` refuses them under this name, since " + kOnOtherContent);
  return filled;
}

}  // namespace

Config with_found_content(const Config& run, const ContentSearch& search) {
  return with_found_net(with_found_data(run, search), search);
}

Grid read_grid_with_content(const std::string& path, const Settings& overrides, ContentUse use) {
  Grid grid = read_grid(path, overrides);
  const ContentSearch search = {grid.runs.front().text("db"), grid.name, use};
  std::map<std::vector<std::string>, std::string> contents;  // of each place that data come from
  std::map<std::vector<std::string>, FoundNet> nets;         // of each file of a net
  for (Config& run : grid.runs) {
    const std::vector<std::string> place = {run.text("data"), run.text("data_dir"),
                                            run.text("corpus"), run.text("data_hash")};
    const auto known = contents.find(place);
    if (known == contents.end()) {
      run = with_found_data(run, search);
      contents.emplace(place, run.text("data_hash"));
    } else if (known->second != run.text("data_hash")) {
      Settings said = run.given();
      said["data_hash"] = known->second;
      if (known->second.empty()) said.erase("data_hash");
      run = Config::resolve(said, false);
    }
    const std::string file = initial_file(run);
    if (file.empty()) continue;
    const std::vector<std::string> net = {file, run.text("init_hash"), run.text("init_net")};
    const auto given = nets.find(net);
    if (given == nets.end()) {
      run = with_found_net(run, search);
      nets.emplace(net, FoundNet{run.text("init_hash"), run.text("init_net")});
    } else {
      run = with_net(run, given->second);
    }
  }
  // Two paths may lead to one net.
  std::set<std::string> ids;
  std::erase_if(grid.runs, [&ids](const Config& run) { return !ids.insert(run.id()).second; });
  grid.completed = [search](const Config& run) { return with_found_net(run, search); };
  return grid;
}

}  // namespace tandem
