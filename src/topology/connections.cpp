// What storages share.
#include "topology/connections.h"

namespace tandem {

std::vector<ActiveSet> Connections::active_sets(const std::vector<char>& wanted) const {
  std::vector<ActiveSet> sets(wanted.size());
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    if (wanted[r]) sets[r] = active_set(static_cast<std::int64_t>(r));
  }
  return sets;
}

}  // namespace tandem
