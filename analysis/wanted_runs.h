// The runs that a grid's file stands for, and what is missing of them. A file that is named decides
// what a table or a figure shows, whatever the store has under the grid's name.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

struct Condition {
  std::string key;
  std::vector<std::string> values;  // any of them
};

struct WantedRun {
  Config config;
  bool decided = true;  // false: its trials have not ended, and the config is that before tuning
  std::string what =
      {};  // "density=0.1 weights=rigl": what tells it from the others, but for seeds
};

struct WantedRuns {
  std::string file;
  std::vector<WantedRun> runs;
};

// With `what` filled in from what was said of each run: options that were said to be different
// things.
WantedRuns told_apart(WantedRuns wanted, const std::vector<Settings>& said);

struct MissingRun {
  std::string what, seed, state;  // state: as stored, "never run" or "awaits its trials"
};

// "weights=rigl seed 2, 3 (never run); weights=set seed 1 (failed)".
std::string missing_text(const std::vector<MissingRun>& missing);

// The same text, or the same number.
// A value of v_run as options write it: flags, which the view has as 0 and 1, in words; NULL, where
// nothing of the run reads the option, as its neutral value. "" of other columns that are NULL.
std::string option_text(const std::string& column, const std::string& stored, bool null);
// The value is one of the condition's.
bool holds(const Condition& condition, const std::string& value);
bool same_value(const std::string& a, const std::string& b);

// Whether the run, once it is in the store, can meet all conditions. Keys that are no options tell
// how a run went; of `open` ones it is not known yet what they will be.
bool may_meet(const Config& run, const std::vector<Condition>& conditions,
              const std::set<std::string>& open = {});

}  // namespace tandem
