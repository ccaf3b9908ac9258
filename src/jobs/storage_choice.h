// How each linear layer of a run is stored: what the option `storage` says, and for auto what the
// break-even of the layer's shape says to the density of what it would store at the start.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "jobs/break_even.h"
#include "topology/budgets.h"
#include "topology/storage.h"

namespace tandem {

// "sparse,sparse,masked", and back (StoreError on another name); "" for none.
std::string storages_text(const std::vector<Storage>& storages);
std::vector<Storage> storages_of_text(const std::string& text);
bool any_sparse(const std::vector<Storage>& storages);
// Of the layers those that are stored sparsely.
std::vector<LayerShape> stored_sparsely(const std::vector<LayerShape>& layers,
                                        const std::vector<Storage>& storages);

// Whether some layer may be sparse: by what the option says, the method and the device.
bool may_be_sparse(const Config& config, const Policies& weights, bool on_gpu);

// The linear layers of the run's model, in the order of the network, without their weights. Reads
// the data set, for the widths at both ends. Throws what a trainer would throw.
std::vector<LayerShape> linear_layers(const Config& config);

// One storage per linear layer. Empty: as the config says, auto being masked; so it is where no
// layer can be sparse (on a GPU, a method that the sparse storage doesn't serve or that starts
// dense) and where the layers can't be known (the worker will say why). Throws ConfigError where
// `storage = sparse` can't be had.
std::vector<Storage> choose_storage(const Config& config, const std::string& device,
                                    BreakEven& measured);

using StorageChooser =
    std::function<std::vector<Storage>(const Config& config, const std::string& device)>;
// choose_storage with one memory, asked once per kind of run (all seeds and learning rates alike).
StorageChooser storage_chooser(BreakEven measured = BreakEven());

}  // namespace tandem
