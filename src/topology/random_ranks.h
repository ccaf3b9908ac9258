// Random choices of a topology: k of n at random is a sample of k distinct ranks among the eligible
// positions in index order, so that every storage and device chooses the same positions. What is
// random about one connection is keyed by (run, layer, update, position).
#pragma once

#include <cstdint>
#include <vector>

#include "core/philox.h"

namespace tandem {

// run_key is the run's stream "topology"; update 0 is the initial mask, updates count from 1.
inline std::uint64_t topology_key(std::uint64_t run_key, std::int64_t layer, std::int64_t update) {
  return sub_key(sub_key(run_key, static_cast<std::uint64_t>(layer)),
                 static_cast<std::uint64_t>(update));
}

// These are the streams below one topology_key.
enum class Draw : std::uint64_t { kDrop, kGrow, kRank, kValue, kSpread, kSuperset, kTies, kScore };
inline RandomStream draw_stream(std::uint64_t key, Draw draw) {
  return {sub_key(key, static_cast<std::uint64_t>(draw))};
}

// Returns k distinct ranks of [0, n), ascending, by Floyd's algorithm in k draws (Bentley & Floyd
// 1987).
std::vector<std::int64_t> random_ranks(RandomStream stream, std::int64_t n, std::int64_t k);

// Sets chosen[i] = 1 where position i is eligible (null: all are) and its rank among the eligible
// is in `ranks` (ascending), 0 elsewhere.
void mark_ranks(const std::vector<std::int64_t>& ranks, const std::uint8_t* eligible,
                std::int64_t n, std::uint8_t* chosen);

// Returns the positions of the ranks where what is not eligible is given as ascending positions.
std::vector<std::int64_t> ranks_outside(const std::vector<std::int64_t>& ranks,
                                        const std::vector<std::int64_t>& occupied);

// Returns the uniform draw of a position, in (0,1).
double uniform_at(RandomStream stream, std::int64_t position);

// Returns the standard normal draw of a position (Box-Muller, one of the pair).
double normal_at(RandomStream stream, std::int64_t position);

}  // namespace tandem
