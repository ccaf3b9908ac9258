// Whether committed tables are still what their runs say: each is made again from a database by
// what its lineage keeps of the question, and compared byte for byte with the files beside it.
#pragma once

#include <string>
#include <vector>

#include "store/store.h"

namespace tandem {

struct Verified {
  enum class Outcome {
    kSame,
    kDiffers,   // `detail`: the first line that does, in both
    kNoPlan,    // the lineage was written before it kept the question
    kNotMade,   // `detail`: why the database does not give the table
    kNoLineage  // `detail`: what is wrong with the lineage itself
  };
  std::string file;  // of the lineage: the table's path, or STEM of a pair of .md and .csv
  Outcome outcome = Outcome::kSame;
  std::string detail = {};
};

// Of one lineage file. Files beside it that are gone are a difference.
Verified verify_table(const StoreReader& store, const std::string& lineage_file);

// The lineage files of a folder, by name; not of folders below it.
std::vector<std::string> lineage_files(const std::string& folder);

}  // namespace tandem
