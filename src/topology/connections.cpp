// This file has what both storages share.
#include "topology/connections.h"

#include "core/error.h"
#include "data/tensor.h"

namespace tandem {

Connections::Connections(Parameter& parameter, std::int64_t replicas, std::int64_t inputs,
                         std::int64_t outputs)
    : parameter_(&parameter), replicas_(replicas), inputs_(inputs), outputs_(outputs) {
  parameter.connections = this;
}

std::vector<std::int64_t> Connections::segments() const {
  std::vector<std::int64_t> offsets;
  for (std::int64_t r = 0; r <= replicas(); ++r) offsets.push_back(r * positions());
  return offsets;
}

std::int64_t Connections::held(std::int64_t replica) const {
  const at::Tensor flags = parameter().held(replica);
  return flags.defined() ? flags.sum().item<std::int64_t>() : 0;
}

std::vector<ActiveSet> Topology::active_sets(const std::vector<char>& wanted) const {
  std::vector<ActiveSet> sets(wanted.size());
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    if (wanted[r]) sets[r] = active_set(static_cast<std::int64_t>(r));
  }
  return sets;
}

void Topology::choose_nested(const std::vector<char>& /*due*/,
                             const std::vector<std::vector<std::int64_t>>& /*counts*/) {
  throw ConfigError(
      "nested masks need the masked storage: give --storage masked, or leave weights_nested empty");
}

}  // namespace tandem
