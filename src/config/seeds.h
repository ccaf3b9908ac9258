// The seed and key of a run's named stream: seed_<stream> where that option exists and is given,
// else seed. Streams: "data", "classes", "init", "topology", "streams", "replay", "growth".
#pragma once

#include <cstdint>
#include <string>

#include "config/config.h"
#include "core/philox.h"

namespace tandem {

inline std::uint64_t run_seed(const Config& config, const std::string& stream) {
  const std::string own = "seed_" + stream;
  const std::int64_t seed = config.find(own) == nullptr ? -1 : config.integer(own);
  return static_cast<std::uint64_t>(seed == -1 ? config.integer("seed") : seed);
}

inline std::uint64_t run_key(const Config& config, const std::string& stream) {
  return stream_key(run_seed(config, stream), stream);
}

}  // namespace tandem
