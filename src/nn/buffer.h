// A buffer is a tensor of a model that no gradient moves: what its forward passes keep of the
// examples that it has learnt, such as how often a unit has been active. It is part of the net: of
// its checkpoints, its copies and its export.
//
// Passes of one step all read what the buffer was before the step. A pass that trains says in its
// context what is to be added (Context::additions), and whoever takes the step adds it at the end.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace tandem {

struct Buffer {
  std::string name;  // e.g. "layer1.active_count"
  at::Tensor value;  // [R,...]

  at::Tensor of_replica(std::int64_t replica) const { return value.select(0, replica); }
};

struct BufferAddition {
  Buffer* buffer = nullptr;
  at::Tensor more;  // in the shape of its value
};

}  // namespace tandem
