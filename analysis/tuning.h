// What was chosen on the validation split before final runs, and on what evidence: for the captions
// of tables, their lineage, and `tandem why`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace tandem {

struct TunedTrial {
  std::string point;  // "lr=0.1 weight_decay=0.001"
  std::string run, state;
  std::int64_t seed = 0, round = 0;
  std::optional<double> score;  // none: it diverged
  bool chosen = false;
};

// One choice: the trials of a method, by their mean over seeds, the best first, and the final runs
// that carry it out.
struct TunedCell {
  std::string grid, method, readout;
  std::vector<TunedTrial> trials;
  std::vector<std::string> runs;

  std::size_t points() const;  // tried, whatever their seeds
};

// The choices behind these runs; none for a run that was not tuned.
std::vector<TunedCell> tuned_cells(const StoreReader& store, const std::vector<std::string>& runs);
// The choice that a run was a trial of, in each grid; its `runs` are empty.
std::vector<TunedCell> cells_of_trial(const StoreReader& store, const std::string& run);

// One sentence per grid: over what was tuned, how many trials, what decided.
std::vector<std::string> tuning_notes(const StoreReader& store,
                                      const std::vector<TunedCell>& cells);

// What was chosen and what came next to it, as text.
std::string explain_choice(const TunedCell& cell);

}  // namespace tandem
