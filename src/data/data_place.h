// Where a data set's files are looked for.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tandem {

struct DataPlace {
  std::string name;                     // of the data set
  std::vector<std::string> subfolders;  // below the data folder, in the order of search
  std::string installed;                // folder of a Debian package, or ""
  std::string remedy;                   // how to get the files: the sentence that ends messages
};

// A folder that `said` (--data-dir) names is the only one that is looked in. TANDEM_DATA is a
// search path: before it itself, which may hold another set's files, comes a package's folder,
// which holds what its name says. Returns the first that has what is wanted; throws DataError,
// which says `what`, where none has.
std::string find_data_folder(const DataPlace& place, const std::string& said,
                             const std::string& what,
                             const std::function<bool(const std::string& folder)>& has);

}  // namespace tandem
