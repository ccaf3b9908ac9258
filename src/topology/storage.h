// The two storages of a layer's connections, and how either starts. Which runs the sparse one
// serves is said by policy/demands.h.
//
// Shapes: R replicas (runs of the group), in and out the layer's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "policy/policy.h"
#include "topology/budgets.h"
#include "topology/connections.h"
#include "topology/initial_weights.h"

namespace tandem {

enum class Storage { kMasked, kSparse };
std::string storage_name(Storage storage);         // masked, sparse
Storage storage_of_name(const std::string& name);  // throws ConfigError

// Returns the share of its positions that a sparse layer begins with: that of M, or of B.
double stored_density(const Policies& weights);

// A LayerStart says how one layer starts.
struct LayerStart {
  Storage storage = Storage::kMasked;
  Start::Pattern pattern = Start::Pattern::kRandom;
  Granularity granularity = {};  // without ablation in the last layer, whose units are the outputs
  std::vector<std::int64_t> active = {};  // [R] connections at first
  std::vector<std::uint64_t> keys = {};   // [R] topology_key(run's stream "topology", layer, 0)
  // [R], or empty: the first mask of a replica as ascending positions, as many as `active`; an
  // empty list: what the pattern says.
  std::vector<std::vector<std::int64_t>> masks = {};
  bool zero_dormant = true;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

// Returns counts and keys of all layers under these starts [R], which may differ in density and not
// in kind; run_keys[r] is the run's stream "topology". Storage, device and dtype are left as they
// are.
std::vector<LayerStart> layer_starts(const std::vector<Start>& starts,
                                     const std::vector<LayerShape>& layers,
                                     const std::vector<std::uint64_t>& run_keys);

// Draws what the storage keeps into parameter.value (a leaf) and makes its connections. `parameter`
// must outlive them. A sparse layer never holds a dense tensor; its start by magnitude looks at all
// draws block by block.
std::unique_ptr<Connections> start_connections(Parameter& parameter, const InitialWeights& initial,
                                               const LayerStart& start);

// Draws all weights of a layer, [R,in,out] on the CPU.
at::Tensor draw_dense(const InitialWeights& initial, at::ScalarType dtype);

}  // namespace tandem
