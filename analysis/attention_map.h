// The picture of one head's attention over one sequence: its full weights, and the blocks of keys
// that its queries choose in the sparse stream.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analysis/figure.h"

namespace tandem {

struct AttentionMap {
  std::string run, title;  // the run's id, shortened; what is shown, in words
  std::int64_t tokens = 0, block_size = 1;
  std::vector<double> weights;        // [T,T], a row for each query
  std::vector<std::uint8_t> chosen;   // [T,NB]
  std::vector<std::int64_t> symbols;  // [T], the tokens themselves
};

// Two panels: weights, on a logarithmic scale down to 1/1000, and chosen blocks. The CSV has one
// line for each query and key that is not after it.
Figure attention_map_figure(const AttentionMap& map);

}  // namespace tandem
