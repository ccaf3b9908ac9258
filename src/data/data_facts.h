// What a data set is, before any of it is read: declared where it is registered.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.h"
#include "data/dataset.h"

namespace tandem {

struct DataFacts {
  Dataset::Kind kind = Dataset::Kind::kImages;
  std::int64_t features = 0;  // of the set as it is published; 0 for kBytes
  std::int64_t classes = 0;
};

// A name that is taken is our own mistake: std::logic_error.
bool declare_data_facts(const std::string& data, const DataFacts& facts);
// Returns the facts of the config's data set; one without is our own mistake, std::logic_error.
const DataFacts& data_facts(const Config& config);

}  // namespace tandem
