// A parameter over the replica axis is, for optimizers, strategies and checkpoints, flat values in
// replica segments and named slots of the same length (a slot is one number per weight, such as a
// momentum). Any code may declare a slot of its own.
//
// Shapes: R replicas (runs of the group), total all values of all replicas.
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
  bool lasting = false;     // no optimizer's state: only what leaves the topology loses it
  bool holds = false;       // a weight where it is not zero stays in the topology
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
  // The first returns a replica's values in their own shape, the second its part of something as
  // long as flat(); both share memory with it.
  at::Tensor of_replica(std::int64_t replica) const;
  at::Tensor segment(const at::Tensor& flat_values, std::int64_t replica) const;
  // Returns a slot; on first use it is made, with `newborn` everywhere.
  at::Tensor slot(const std::string& slot_name, double newborn = 0);
  // Returns where a slot holds the weight, bool [total]; it is undefined where none does.
  at::Tensor held() const;
  at::Tensor held(std::int64_t replica) const;  // the same of its segment alone
  // Sets the slots of these replicas [R] to a newborn's value, except for those that are
  // `everywhere` or `lasting`.
  void empty_slots(const std::vector<char>& which);
};

}  // namespace tandem
