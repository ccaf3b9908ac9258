// What a model would be, from a config alone: asked before anything of it is made, by whoever
// checks a run, sizes its group or chooses its storages.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "nn/model.h"
#include "topology/budgets.h"

namespace tandem {

// Numbers that one run holds. Real, so that no product of options overflows.
struct ModelNeeds {
  double weights = 0;
  double activations = 0;  // of one example's step, with what a backward pass needs of them
};

struct ModelOutline {
  bool attention = false;  // has layers of attention
  bool sequences = false;  // an example is a window of `context` tokens
  // What a network of any config needs, also of one that the model refuses.
  ModelNeeds (*needs)(const Config& config, const ModelShape& shape) = nullptr;
  // The linear layers in the order of the network, none exempt. Throws ConfigError for what the
  // model itself refuses.
  std::vector<LayerShape> (*layers)(const Config& config, const ModelShape& shape) = nullptr;
};

// Beside models().add(): a name that is taken is our own mistake, std::logic_error.
bool declare_outline(const std::string& model, const ModelOutline& outline);
// Returns the outline of the config's model; a model without one is our own mistake,
// std::logic_error.
const ModelOutline& outline_of(const Config& config);

}  // namespace tandem
