// Tiny IDX files, good and bad, for the tests of readers.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"

namespace tandem::test {

inline std::string idx_bytes(const std::vector<std::uint32_t>& dims, const std::string& values,
                             char type = 8) {
  std::string bytes = {0, 0, type, static_cast<char>(dims.size())};
  for (const std::uint32_t each : dims) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(each >> shift & 255);
  }
  return bytes + values;
}

inline std::string gzipped(const std::string& bytes) {
  const TemporaryFolder folder;
  gzFile file = gzopen((folder / "z").c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  return read_file(folder / "z");
}

// Values that look random and differ from place to place.
inline std::string noise(std::size_t size, std::uint32_t seed) {
  std::string values;
  for (std::size_t i = 0; i < size; ++i) {
    seed = seed * 1664525u + 1013904223u;
    values += static_cast<char>(seed >> 24);
  }
  return values;
}

// Label i is i % 10.
inline std::string cyclic_labels(std::size_t count) {
  std::string labels;
  for (std::size_t i = 0; i < count; ++i) labels += static_cast<char>(i % 10);
  return labels;
}

// The four files of an image set with 2x3 pixels, gzipped. Pixels differ from seed to seed.
inline void write_image_set(const std::string& folder, std::uint32_t train, std::uint32_t test,
                            std::uint32_t seed = 1) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& bytes) {
    atomic_write(folder + "/" + name + ".gz", gzipped(bytes));
  };
  write("train-images-idx3-ubyte", idx_bytes({train, 2, 3}, noise(train * 6, seed)));
  write("train-labels-idx1-ubyte", idx_bytes({train}, cyclic_labels(train)));
  write("t10k-images-idx3-ubyte", idx_bytes({test, 2, 3}, noise(test * 6, seed + 1)));
  write("t10k-labels-idx1-ubyte", idx_bytes({test}, cyclic_labels(test)));
}

}  // namespace tandem::test
