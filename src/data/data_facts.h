// What a data set is, before any of it is read: declared where it is registered.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.h"
#include "data/dataset.h"

namespace tandem {

struct DataFacts {
  Dataset::Kind kind = Dataset::Kind::kImages;
  // Of the set as it is published; 0 of sequences, and of images that are known once they are read.
  std::int64_t features = 0;
  std::int64_t classes = 0;
  std::int64_t channels = 1;
  const char* classes_option = nullptr;  // the option that says how many classes there are
};

// A name that is taken is our own mistake: std::logic_error.
bool declare_data_facts(const std::string& data, const DataFacts& facts);
// Returns the facts of the config's data set; one without is our own mistake, std::logic_error.
const DataFacts& data_facts(const Config& config);

// What a network sees of the config's data: inputs of an example, padded where that is said, and
// classes. Reads the data where nothing is known before (load_dataset() and its DataError).
struct SeenData {
  std::int64_t features = 0, classes = 0;
};
SeenData seen_data(const Config& config);

}  // namespace tandem
