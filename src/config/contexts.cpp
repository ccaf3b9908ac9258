#include "config/contexts.h"

#include <algorithm>

namespace tandem {

std::vector<std::int64_t> context_multiples(const Config& config) {
  std::vector<std::int64_t> multiples = config.integers("eval_contexts");
  std::sort(multiples.begin(), multiples.end());
  multiples.erase(std::unique(multiples.begin(), multiples.end()), multiples.end());
  std::erase(multiples, 1);
  return multiples;
}

}  // namespace tandem
