// A parameter over the replica axis, as optimizers, strategies and checkpoints see it: flat values
// in replica segments and named slots of the same length. Any code may declare a slot of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tandem {

class Connections;

struct Slot {
  at::Tensor values;        // [total], beside the parameter's values
  double newborn = 0;       // what a weight that enters the topology gets
  bool everywhere = false;  // dormant positions have values too: nothing empties it
};

struct Parameter {
  std::string name;    // e.g. "layer1.weight"
  at::Tensor value;    // leaf of autograd; [R,...], or flat [total] in a sparse storage
  bool decays = true;  // weight decay applies (matrices, not biases and norms)
  Connections* connections = nullptr;  // whose values these are; null: always dense
  std::map<std::string, Slot> slots;

  std::int64_t replicas() const;
  at::Tensor flat() const;                     // [total], sharing memory, no autograd
  std::vector<std::int64_t> segments() const;  // [R+1] offsets into flat()
  // A replica's values in their own shape, and its part of something as long as flat(); they share
  // memory.
  at::Tensor of_replica(std::int64_t replica) const;
  at::Tensor segment(const at::Tensor& flat_values, std::int64_t replica) const;
  // Makes it with `newborn` everywhere on first use.
  at::Tensor slot(const std::string& slot_name, double newborn = 0);
  // Slots of these replicas [R] are as a newborn's from now on, but those that are everywhere.
  void empty_slots(const std::vector<char>& which);
};

}  // namespace tandem
