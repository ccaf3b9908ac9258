// The connections of one layer of one replica as a checkpoint holds them, whatever their storage:
// int64 numbers that say what they are.
//   tag, version, inputs, outputs, planes, and for each plane: kind, length, ActiveSet::save()
// Kinds: the mask M, the superset B, a nested mask within M (widest first). Sets are bits in the
// masked storage and lists in the sparse one, which stores B where there is one and M elsewhere.
//
// Checkpoints of before had no tag: uint8, packed masks one after the other, the mask first; or
// int64, inputs, outputs and the positions that are stored (inputs negative: twice the position,
// plus whether it is active). These are read as well.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "topology/active_set.h"

namespace tandem {

struct SavedTopology {
  std::int64_t inputs = 0, outputs = 0;
  ActiveSet mask;
  ActiveSet superset = {};             // unknown: there is none
  std::vector<ActiveSet> nested = {};  // within the mask, descending
  bool listed = false;  // of the sparse storage; found by load(), save() looks at the sets
  // Further masks of a checkpoint that does not say whether they are a superset or nested.
  std::vector<ActiveSet> untold = {};

  at::Tensor save() const;
  // Inputs and outputs that it speaks of; nothing where it does not say.
  static std::optional<std::pair<std::int64_t, std::int64_t>> shape_in(const at::Tensor& saved);
  // Reads the topology of a layer of that name and shape. Throws StoreError, which names both,
  // where `saved` is damaged or another layer's.
  static SavedTopology load(const at::Tensor& saved, const std::string& name, std::int64_t inputs,
                            std::int64_t outputs);
};

}  // namespace tandem
