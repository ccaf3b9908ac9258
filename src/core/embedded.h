// What the build writes into the program: the .sql files and the revision it was built from.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct EmbeddedFile {
  std::string path;  // below the project's root, e.g. "src/store/0001_initial.sql"
  std::string text;
};
const std::vector<EmbeddedFile>& embedded_sql();

struct BuildInfo {
  std::string revision;  // git commit, or "unknown" outside a checkout
  bool dirty;            // tracked files differed from it
  std::string compiler;
};
BuildInfo build_info();

}  // namespace tandem
