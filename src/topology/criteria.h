// Criteria are scores by name, for drop, grow and rank. A criterion is elementwise, so that any
// storage can compute it block by block; a criterion with a slot of its own declares it here.
//
// Shapes: n positions of a layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/part.h"
#include "topology/active_set.h"

namespace tandem {

struct ScoreInputs {  // blocks of equal shape
  at::Tensor weight;
  at::Tensor gradient;     // dense G; undefined unless needs_gradient
  at::Tensor input_scale;  // root mean square of a position's input; undefined unless needs_inputs
  std::map<std::string, at::Tensor> slots;
  double parameter = 0;  // the criterion's own number
  at::Tensor
      uniform;  // double in (0,1), keyed by (run, layer, update, position); see needs_uniform
};

struct LayerTopology {
  const ActiveSet& active;
  std::int64_t inputs = 0, outputs = 0;
  std::uint64_t key = 0;    // random stream of this (run, layer, update)
  at::Tensor weights = {};  // the active positions' weights in their order, double, on the CPU
};

struct Criterion {
  std::string name;
  bool random = false;             // k of n at random: no scores are computed
  bool per_sign = false;           // the amount applies to positives and negatives separately (SET)
  bool needs_gradient = false;     // the dense gradient G of this step
  bool needs_inputs = false;       // the layer's inputs of this step
  std::vector<std::string> slots;  // slots it reads; a missing one is made with newborn 0
  bool everywhere = false;         // its slots are of all positions: no update empties them
  bool needs_uniform = false;      // random numbers of its own
  double parameter = 0;            // a number of its own, from the operation that uses it
  at::Tensor (*score)(const ScoreInputs&) = nullptr;
  // A criterion may have this in place of `score`: it returns the scores of all positions, float64
  // [n], from the layer as a whole.
  at::Tensor (*of_topology)(const LayerTopology&) = nullptr;
  // This is called after each backward pass, for criteria that keep a slot up to date; it may be
  // null.
  void (*accumulate)(const at::Tensor& gradient,
                     std::map<std::string, at::Tensor>& slots) = nullptr;
  // This is called at the start and after each update, for criteria whose slots follow the
  // topology; `active` is uint8 and as long as a slot. It may be null.
  void (*after_update)(const at::Tensor& active,
                       std::map<std::string, at::Tensor>& slots) = nullptr;
};

Registry<Criterion>& criteria();
const Criterion& criterion(const std::string& name);  // ConfigError with the nearest names

}  // namespace tandem
