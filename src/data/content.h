// What a run's data are, whatever files they lie in: the SHA-256 of what is read. It is part of a
// run's id (option `data_hash`), so that a run on other data is another run. The content that a
// data set is known by goes without saying, so that ids stay where nobody brings data of their own.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "core/cache_folder.h"

namespace tandem {

// Paths, sizes and times of files: differs once any of them is written again.
struct FileStamp {
  std::string text;
  bool settled = false;  // so old that a later write would show in the times
};
FileStamp stamp_of(const std::vector<std::string>& paths);  // throws DataError

// Hashes by stamp in a JSON file, so that planning doesn't read data again and again. The file is a
// convenience: where it is damaged or can't be written, data are read.
class ContentMemory {
 public:
  explicit ContentMemory(std::string file) : file_(std::move(file)) {}
  std::string find(const FileStamp& stamp) const;  // "" where it isn't known
  void remember(const FileStamp& stamp, const std::string& hash) const;

 private:
  std::string file_;
};
std::string content_file();  // content.json in the cache folder; "": nowhere

// Whether the config's data are read from files. What is generated has no content to be known by:
// the options that say all of it are part of a run's id as they are.
bool has_content(const Config& config);

// SHA-256, 64 hex digits: of a byte corpus; of an image set its sizes, pixels and labels. Throws
// DataError where the data can't be read.
std::string content_of(const Config& config,
                       const ContentMemory& memory = ContentMemory(content_file()));

// The config with the hash as its `data_hash`, which stays empty for the known content.
Config with_content(const Config& config, const std::string& hash);

// Throws DataError, with both hashes, unless the config's data are what its `data_hash` says; where
// it says nothing, what the data set is known by. A data set that nothing is known of passes.
void expect_content(const Config& config);

}  // namespace tandem
