#include "app/run_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "config/known_content.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "data/content.h"
#include "store/store.h"

namespace tandem {
namespace {

// Contents that stored runs on the run's data set (and corpus) have; "" is the known one, or that
// of a database from before contents were noted.
constexpr const char* kStoredContents =
    "SELECT DISTINCT coalesce(r.data_hash, '') AS content FROM v_run r WHERE r.data = ?1 AND "
    "coalesce(r.corpus, '') = ?2 AND (?3 = '' OR r.run IN (SELECT run_id FROM grid_run WHERE grid "
    "IN (?3, ?3 || '/tuning'))) ORDER BY content";

std::vector<std::string> stored_contents(const Config& run, const ContentSearch& search) {
  if (!path_exists(search.database)) return {};
  if (search.is_to_train) StoreWriter brought_forward(search.database);
  std::vector<std::string> contents;
  const QueryResult found =
      StoreReader(search.database)
          .query(kStoredContents, {run.text("data"), run.text("corpus"), search.grid});
  for (const auto& row : found.rows) contents.push_back(row[0]);
  return contents;
}

std::string shown(const Config& run, const std::string& content) {
  const std::string hash = expected_content(run.text("data"), run.text("corpus"), content);
  return hash.empty() ? "unknown" : hash;
}

bool names_its_files(const Config& run) {
  return !run.text("data_dir").empty() || !run.text("corpus").empty();
}

// None where the files can't be read and nobody asks for them.
std::optional<std::string> content_of_files(const Config& run, const ContentSearch& search) {
  try {
    return content_of(run);
  } catch (const DataError&) {
    if (search.is_to_train && names_its_files(run)) throw;
    return std::nullopt;
  }
}

Config without_files(const Config& run, const ContentSearch& search) {
  if (!run.text("data_hash").empty()) return with_content(run, run.text("data_hash"));
  std::vector<std::string> contents = stored_contents(run, search);
  if (contents.empty() && !search.grid.empty()) {
    contents = stored_contents(run, {.database = search.database});
  }
  if (contents.empty()) return run;
  if (contents.size() == 1) return with_content(run, contents.front());
  std::vector<std::string> hashes;
  for (const auto& content : contents) hashes.push_back(shown(run, content));
  throw DataError(fmt::format(
      "{}: its files aren't on this machine, and {} has runs on several contents ({}): say which "
      "with --data-hash",
      run.text("data"), search.database, join(hashes, ", ")));
}

// A grid is one set of runs on one content; its tables would lose those on the other.
void refuse_other_content(const Config& run, const ContentSearch& search) {
  if (search.grid.empty() || !search.is_to_train) return;
  const std::vector<std::string> contents = stored_contents(run, search);
  const std::string own = shown(run, run.text("data_hash"));
  for (const auto& content : contents) {
    const std::string hash = shown(run, content);
    if (hash == own || hash == "unknown") continue;
    throw DataError(fmt::format(
        "grid {} was begun in {} on the content {} of {}, and its files now have {}: name the "
        "files that it was begun on with --data-dir or --corpus, another database with --db, or "
        "the grid by another name",
        search.grid, search.database, hash, run.text("data"), own));
  }
}

}  // namespace

Config with_found_content(const Config& run, const ContentSearch& search) {
  const auto found = content_of_files(run, search);
  if (!found) return without_files(run, search);
  const std::string& said = run.text("data_hash");
  if (!said.empty() && said != *found) {
    throw DataError(
        fmt::format("{}: expected data with data_hash = {}, found data with the hash {}",
                    run.text("data"), said, *found));
  }
  Config filled = with_content(run, *found);
  refuse_other_content(filled, search);
  return filled;
}

Grid read_grid_with_content(const std::string& path, const Settings& overrides, bool is_to_train) {
  Grid grid = read_grid(path, overrides);
  const ContentSearch search = {grid.runs.front().text("db"), grid.name, is_to_train};
  std::map<std::vector<std::string>, std::string> contents;  // of each place that data come from
  for (std::size_t i = 0; i < grid.runs.size(); ++i) {
    Config& run = grid.runs[i];
    const std::vector<std::string> place = {run.text("data"), run.text("data_dir"),
                                            run.text("corpus"), run.text("data_hash")};
    const auto known = contents.find(place);
    Settings said = run.given();
    if (known == contents.end()) {
      run = with_found_content(run, search);
      contents.emplace(place, run.text("data_hash"));
    } else {
      said["data_hash"] = known->second;
      run = Config::resolve(said, false);
    }
    grid.cells[i]["data_hash"] = run.text("data_hash");
    if (run.text("data_hash").empty()) grid.cells[i].erase("data_hash");
  }
  return grid;
}

}  // namespace tandem
