// What earlier releases left behind (tests/fixtures/stores), unpacked into folders of their own.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/xz.h"

namespace tandem::test {

constexpr int kOldVersions[] = {1, 2, 3, 4};
constexpr int kNewestOldVersion = 4;

// A folder with results.sqlite of a schema version, the checkpoints beside it, and the grid files
// and the corpus of its runs.
class OldStore {
 public:
  explicit OldStore(int version) {
    namespace fs = std::filesystem;
    const fs::path all = fs::path(TANDEM_SOURCE_DIR) / "tests/fixtures/stores";
    const fs::path own = all / std::to_string(version);
    for (const auto& entry : fs::recursive_directory_iterator(own)) {
      if (!entry.is_regular_file()) continue;
      const fs::path to = fs::path(folder_.path()) / fs::relative(entry.path(), own);
      fs::create_directories(to.parent_path());
      atomic_write((to.parent_path() / to.stem()).string(),
                   xz_decompress(read_file(entry.path().string()), entry.path().string()));
    }
    for (const auto& entry : fs::directory_iterator(all)) {
      const fs::path ending = entry.path().extension();
      if (ending != ".ini" && ending != ".txt") continue;
      fs::copy_file(entry.path(), fs::path(folder_.path()) / entry.path().filename());
    }
  }

  const std::string& folder() const { return folder_.path(); }
  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string db() const { return folder_ / "results.sqlite"; }

 private:
  TemporaryFolder folder_;
};

// The rows of a query as SQLite gives them, one line each, told apart from NULL by name. Asked of
// the file itself, whatever its version: nothing of the program stands between.
inline std::vector<std::string> plain_lines(const std::string& path, const std::string& sql) {
  const SQLite::Database db(path, SQLite::OPEN_READONLY);
  SQLite::Statement rows(db, sql);
  std::vector<std::string> lines;
  while (rows.executeStep()) {
    std::string line;
    for (int i = 0; i < rows.getColumnCount(); ++i) {
      const SQLite::Column column = rows.getColumn(i);
      line += (i == 0 ? "" : "|") + (column.isNull() ? "NULL" : column.getString());
    }
    lines.push_back(line);
  }
  return lines;
}

}  // namespace tandem::test
