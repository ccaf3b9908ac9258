// The `data_hash` of runs, filled before anything looks at their ids: by the content of the files
// that they name, else, on a machine without those, by what the database holds.
#pragma once

#include <string>

#include "config/config.h"
#include "config/grid.h"

namespace tandem {

struct ContentSearch {
  std::string database;      // need not exist
  std::string grid = "";     // whose stored runs are asked; "": all of the database
  bool is_to_train = false;  // files that are named and can't be read are refused
};

// Throws DataError where files are there and aren't what the run says; where they are missing and
// the database has runs on several contents; where a stored grid was begun on other data.
Config with_found_content(const Config& run, const ContentSearch& search);

// A grid whose runs, and the trials that are made of them, have their content. `overrides` as in
// read_grid().
Grid read_grid_with_content(const std::string& path, const Settings& overrides, bool is_to_train);

}  // namespace tandem
