// The initial weights of a linear layer are drawn one by one, each from its run's own stream and
// keyed by its position, so that a storage draws what it keeps and nothing else, and all storages
// and dtypes start from the same numbers. Where a net is given they are its weights instead.
//
// Shapes: R replicas (runs of the group).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/philox.h"

namespace tandem {

class GivenWeights;  // topology/given_weights.h

struct InitialWeights {
  enum class Law { kUniform, kNormal };  // uniform on (-scale, scale); normal of deviation scale
  Law law = Law::kUniform;
  double scale = 0;
  std::int64_t inputs = 0, outputs = 0;
  std::vector<RandomStream> streams = {};  // [R] one per replica
  // [R], or empty: the weights that a replica begins with; null: they are drawn.
  std::vector<std::shared_ptr<const GivenWeights>> given = {};

  std::int64_t replicas() const { return static_cast<std::int64_t>(streams.size()); }
  std::int64_t positions() const { return inputs * outputs; }
  double at(std::int64_t replica, std::int64_t position) const;
};

}  // namespace tandem
