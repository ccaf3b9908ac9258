// IDX is the format of MNIST's files: a big-endian header {0, 0, type, rank, dimension...}, then
// the values. Only unsigned bytes (type 8) are read, plain or gzipped. Nothing is taken on trust: a
// file that is cut, too long or damaged, or whose header promises what it doesn't hold, is a
// DataError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/pictures.h"

namespace tandem {

struct IdxArray {
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> values;
};

// `remedy` is the sentence on how to get a good file, which ends every message.
IdxArray read_idx(const std::string& path, int rank, const std::string& remedy);

// Labels are `first_label` and on in the file, and from 0 on in what is returned, each below
// `classes`.
Pictures read_labelled_images(const std::string& images_path, const std::string& labels_path,
                              std::int64_t classes, const std::string& remedy,
                              std::int64_t first_label = 0);

// The dimensions that a file of unsigned bytes says it has; 0 of what is no such file.
int idx_rank(const std::string& path);

// All bytes of a file that is plain or gzipped.
std::vector<std::uint8_t> read_plain_or_gzipped(const std::string& path, const std::string& remedy);

// Returns the folder's file of that name, with or without ".gz", or "" where there is neither. A
// name is also found with a dot for its first "-idx", as some copies of MNIST have it.
std::string find_idx(const std::string& folder, const std::string& name);

}  // namespace tandem
