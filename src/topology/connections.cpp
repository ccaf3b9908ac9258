// This file has what both storages share.
#include "topology/connections.h"

#include "core/error.h"

namespace tandem {

std::vector<ActiveSet> Connections::active_sets(const std::vector<char>& wanted) const {
  std::vector<ActiveSet> sets(wanted.size());
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    if (wanted[r]) sets[r] = active_set(static_cast<std::int64_t>(r));
  }
  return sets;
}

void Connections::choose_nested(const std::vector<char>& /*due*/,
                                const std::vector<std::vector<std::int64_t>>& /*counts*/) {
  throw ConfigError(
      "nested masks need the masked storage: give --storage masked, or leave weights_nested empty");
}

}  // namespace tandem
