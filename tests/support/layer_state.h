// One layer of one replica over all of its positions, whatever its storage, as tests compare it
// before and after a step.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/tensor.h"
#include "train/trainer.h"

namespace tandem::test {

struct SlotState {
  at::Tensor values;  // [n]; 0 where nothing is stored
  double newborn = 0;
};

struct LayerState {
  at::Tensor active;                       // bool [n]: M
  at::Tensor superset;                     // bool [n]: B; undefined: there is none
  at::Tensor values;                       // [n]; 0 where nothing is stored
  std::map<std::string, SlotState> slots;  // without those of all positions
};

LayerState layer_state(Linear& layer, std::int64_t replica);
std::vector<LayerState> layer_states(Trainer& trainer, std::int64_t replica);

at::Tensor bits_of(const at::Tensor& values);  // as integers
// Equal to the bit where `where` is set.
bool same_bits(const at::Tensor& a, const at::Tensor& b, const at::Tensor& where);
// Trainer::save() of two trainers is the same in names, types, shapes and bits.
using SavedState = std::vector<std::pair<std::string, at::Tensor>>;
void require_same_state(const SavedState& a, const SavedState& b);

}  // namespace tandem::test
