// Weights of a linear layer that stand in a file, read where they lie: all positions of the layer,
// or a list of them, outside of which weights are zero.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/safetensors.h"

namespace tandem {

class GivenWeights {
 public:
  // `values` is [inputs,outputs], or [outputs,inputs] where it is turned; with a list of ascending
  // positions, the value of position i is entry places[i] of it. A floating-point tensor, whose
  // memory `owner` holds.
  GivenWeights(TensorView values, std::int64_t inputs, std::int64_t outputs, bool turned,
               std::shared_ptr<const void> owner);
  GivenWeights(TensorView values, std::vector<std::int64_t> positions,
               std::vector<std::int64_t> places, std::shared_ptr<const void> owner);

  double at(std::int64_t position) const;

 private:
  TensorView values_;
  std::int64_t inputs_ = 0, outputs_ = 0;
  bool turned_ = false, listed_ = false;
  std::vector<std::int64_t> positions_, places_;
  std::shared_ptr<const void> owner_;
};

// Entry i of a floating-point tensor, which need not be aligned. Throws std::logic_error for
// another type.
double floating_value(const TensorView& tensor, std::int64_t i);
bool is_floating(DType dtype);

}  // namespace tandem
