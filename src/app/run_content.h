// What the content of files says of runs, filled in before anything looks at their ids:
// `data_hash`, and of a net that they begin with `init_hash` and `init_net`.
//
// `data_hash` by the content of the files
// that they name, else, on a machine without those, by what the database holds. Stored runs on a
// named corpus may have none: those of releases before it. It stays empty where the corpus is
// theirs. A net that is not there any more is known by the runs that the database has begun from
// its path.
#pragma once

#include <string>

#include "config/config.h"
#include "config/grid.h"

namespace tandem {

// What is done with the runs: they are trained, it is said what training would do, or what is
// stored of them is read.
enum class ContentUse { kTrain, kPlan, kRead };

struct ContentSearch {
  std::string database;   // need not exist
  std::string grid = "";  // whose stored runs are asked; "": all of the database
  ContentUse use = ContentUse::kRead;
};

// Where files are there and aren't what the stored runs of the grid were begun on, a run that is
// read takes the content of these, one that is planned takes that of the files, and a line says so;
// one that is to be trained is refused. Throws DataError for that; for files that are to be trained
// on, are named and can't be read; where files are there and aren't what the run says, unless it is
// read; where it depends on the database, which has runs on several contents. Of nets: where the
// file of a run that is planned or trained can't be read and the database does not know it, or is
// another than the run says.
Config with_found_content(const Config& run, const ContentSearch& search);

// A grid whose runs, and the trials that are made of them, have their content. `overrides` as in
// read_grid().
Grid read_grid_with_content(const std::string& path, const Settings& overrides, ContentUse use);

}  // namespace tandem
