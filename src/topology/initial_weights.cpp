// Draws are uniform, or normal by Box and Muller, of whose pair one is used.
#include "topology/initial_weights.h"

#include <cmath>
#include <numbers>

#include "topology/given_weights.h"

namespace tandem {

double InitialWeights::at(std::int64_t replica, std::int64_t position) const {
  if (!given.empty()) {
    if (const auto& own = given[static_cast<std::size_t>(replica)]) return own->at(position);
  }
  const RandomStream& stream = streams[static_cast<std::size_t>(replica)];
  const auto i = static_cast<std::uint64_t>(position);
  if (law == Law::kUniform) return scale * (2 * stream.uniform(i) - 1);
  const double u = 1 - stream.uniform(2 * i), v = stream.uniform(2 * i + 1);
  return scale * (std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

}  // namespace tandem
