// The two rounds of a grid with a [tune] section. First every method (a cell without its seed) is
// tried at every point of the tuned axes with the tuning seeds; then its runs are those of the file
// at the point whose mean validation score was best, marked `final`, so that the test split is read
// once, after every choice.
//
// The score is accuracy (images) or minus the loss (bytes) on the validation split, mean over the
// read-outs of the streams that the method trains: full for dense, sparse for RigL, both for ssa.
#pragma once

#include <string>
#include <vector>

#include "config/grid.h"
#include "store/store.h"

namespace tandem {

struct TuningTrial {
  std::string method;  // the cell's settings without seeds and tuned axes
  std::string point;   // "lr=0.1 weight_decay=0.001"
  Settings chosen;     // the point as settings
  Config run;
};

std::vector<TuningTrial> tuning_trials(const Grid& grid);

struct TunedGrid {
  std::vector<Config> runs;           // the final runs, in the file's order
  std::vector<TuningRecord> records;  // every trial, for the store
  std::vector<std::string> warnings;  // an optimum at the edge of its axis, a method that diverged
};

// What a grid's file stands for now: without [tune] its runs; with it the trials and, once all of
// them have ended, the final runs at what they chose. `database` need not exist.
std::vector<Config> wanted_now(const Grid& grid, const std::string& database);

// Needs the trials' evaluations in the store. Throws StoreError where a trial has none.
TunedGrid choose(const Grid& grid, const std::vector<TuningTrial>& trials,
                 const StoreReader& store);

}  // namespace tandem
