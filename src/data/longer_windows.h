// Windows of held-out text that are longer than those that a net is trained with. They are cut from
// the same bytes as the others, one behind the other from the start of each part's validation or
// test on; with `evaluation_windows` they are fewer as they are longer, so that about as many bytes
// are read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/dataset.h"

namespace tandem {

// Starts of windows of so many bytes in [begin, end) that don't overlap; `limit` > 0 takes that
// many, evenly spaced.
std::vector<std::int64_t> spaced_windows(std::int64_t begin, std::int64_t end, std::int64_t window,
                                         std::int64_t limit);

// Starts of the windows of multiple x context + 1 bytes in the split ("validation", "test") of the
// parts whose training ranges are `train`, {begin, end, ...}. "train" has none.
std::vector<std::int64_t> longer_windows(const Config& config, const Dataset& data,
                                         const std::vector<std::int64_t>& train,
                                         const std::string& split, std::int64_t multiple);

}  // namespace tandem
