// Whether a run that is trained again is the same run to the bit: what is stored of it against what
// it leaves now, step by step. What can be compared is digests of its tensors, the masks that its
// topology updates left, and its evaluations; each is a text that is equal exactly where the bits
// are.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace tandem {

struct TraceKey {
  enum class Kind { kUpdate, kDigest, kEvaluation };
  Kind kind = Kind::kDigest;
  std::string of;  // a layer, a tensor, or an evaluation's read-out, split, task and stage
  auto operator<=>(const TraceKey&) const = default;
};
using StepTrace = std::map<TraceKey, std::string>;
using RunTrace = std::map<std::int64_t, StepTrace>;  // by the steps taken

RunTrace stored_trace(const StoreReader& store, const std::string& run);
void add_to_trace(RunTrace& trace, const Row& row);  // rows of other kinds leave nothing

struct TraceDifference {
  TraceKey key;
  std::string stored, now;  // "": there is none now
};

// Of the steps at which something is stored.
struct TraceComparison {
  std::int64_t steps = 0;  // that agree, before the first that differs
  std::int64_t last = 0;   // of these
  std::int64_t digests = 0, updates = 0, evaluations = 0;  // of these steps; updates of all layers
  std::size_t tensors = 0;
  std::optional<std::int64_t> differs;  // the first step that does
  std::vector<TraceDifference> differences;
};

// All that is stored must come again. What comes besides is no difference: the file may hold a part
// of what the run left.
TraceComparison compare_traces(const RunTrace& stored, const RunTrace& now,
                               std::int64_t below = std::numeric_limits<std::int64_t>::max());

// "12 digests of 6 tensors, 24 evaluations, 30 topology updates".
std::string counts_text(const TraceComparison& comparison);
std::string difference_text(const TraceDifference& difference);

// Each attempt's, as JSON.
std::vector<std::string> stored_provenance(const StoreReader& store, const std::string& run);
// A line for each thing in which the places differ: "revision: abc, now def".
std::vector<std::string> provenance_differences(const std::vector<std::string>& stored,
                                                const std::string& now);

}  // namespace tandem
