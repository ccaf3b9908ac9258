// IDX is the format of MNIST's files: a big-endian header {0, 0, type, rank, dimension...}, then
// the values. Only unsigned bytes (type 8) are read, plain or gzipped. Nothing is taken on trust: a
// file that is cut, too long or damaged, or whose header promises what it doesn't hold, is a
// DataError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

struct IdxArray {
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> values;
};

// `remedy` is the sentence on how to get a good file, which ends every message.
IdxArray read_idx(const std::string& path, int rank, const std::string& remedy);

struct LabelledImages {
  std::int64_t count = 0, features = 0;
  std::vector<std::uint8_t> pixels;  // [count, features]
  std::vector<std::uint8_t> labels;  // [count], each below `classes`
};
LabelledImages read_labelled_images(const std::string& images_path, const std::string& labels_path,
                                    std::int64_t classes, const std::string& remedy);

// Returns the folder's file of that name, with or without ".gz", or "" where there is neither. A
// name is also found with a dot for its first "-idx", as some copies of MNIST have it.
std::string find_idx(const std::string& folder, const std::string& name);

}  // namespace tandem
