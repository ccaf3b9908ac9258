// Labelled pictures as readers of image sets find them, and what is done with them before they are
// a data set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace tandem {

struct Pictures {
  std::int64_t count = 0, channels = 1, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [count, channels, height, width]
  std::vector<std::int64_t> labels;  // [count], from 0
  std::int64_t features() const { return channels * height * width; }
};

// Appends others of the same shape.
void append(Pictures& to, const Pictures& more);

// One picture of channels x height x width bytes at another size: bilinear, averaged where it
// shrinks.
std::vector<std::uint8_t> resized(const std::vector<std::uint8_t>& pixels, std::int64_t channels,
                                  std::int64_t height, std::int64_t width, std::int64_t size);

// The data set of both, training pictures first, with all of them named by its splits. `path`: what
// was read second, and `from` what was read first, for the DataError where their shapes differ;
// `remedy` ends its message.
Dataset dataset_of(const std::string& name, const Pictures& train, const Pictures& test,
                   std::int64_t classes, const std::string& path, const std::string& from,
                   const std::string& remedy);

// Option `pad_to`: the pictures in the middle of black ones of that many pixels a side.
void pad_pictures(Dataset& dataset, std::int64_t side);

}  // namespace tandem
