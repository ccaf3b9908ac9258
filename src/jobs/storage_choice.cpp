#include "jobs/storage_choice.h"

#include <algorithm>
#include <map>
#include <memory>

#include "continual/scenario.h"
#include "core/error.h"
#include "core/text.h"
#include "data/dataset.h"
#include "jobs/device.h"
#include "methods/method.h"
#include "nn/outline.h"
#include "plan/group.h"
#include "plan/stages.h"
#include "policy/demands.h"
#include "policy/rules.h"

namespace tandem {
namespace {

void check_sparse(const Config& config, const Policies& weights, const std::string& device) {
  const Policies attention;
  check_rules(
      {"sparse_storage_refused", "sparse_storage_on_gpu"},
      {weights, attention, &config, device, is_gpu(device), demands_of(weights).sparse_refusal});
}

std::int64_t rows_of(const Config& config) {
  return config.integer("batch") * (outline_of(config).sequences ? config.integer("context") : 1);
}

std::vector<Storage> by_break_even(const Config& config, const std::vector<LayerShape>& layers,
                                   const Policies& weights, BreakEven& measured) {
  const std::int64_t rows = rows_of(config);
  const std::vector<LayerBudget> budgets =
      spread_budget(layers, stored_density(weights), weights.start.budget);
  std::vector<Storage> storages;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerShape& layer = layers[l];
    const bool sparse =
        !layer.exempt && budgets[l].density <= measured.density({layer.inputs, layer.outputs, rows,
                                                                 config.text("dtype")});
    storages.push_back(sparse ? Storage::kSparse : Storage::kMasked);
  }
  return storages;
}

}  // namespace

bool may_be_sparse(const Config& config, const Policies& weights, bool on_gpu) {
  return config.text("storage") != "masked" && !on_gpu &&
         weights.start.pattern != Start::Pattern::kDense &&
         demands_of(weights).sparse_refusal.empty();
}

std::string storages_text(const std::vector<Storage>& storages) {
  std::vector<std::string> names;
  for (const Storage storage : storages) names.push_back(storage_name(storage));
  return join(names, ",");
}

std::vector<Storage> storages_of_text(const std::string& text) {
  std::vector<Storage> storages;
  if (text.empty()) return storages;
  for (const std::string& name : split(text, ',')) {
    try {
      storages.push_back(storage_of_name(name));
    } catch (const ConfigError&) {
      throw StoreError("storages '" + text + "': '" + name +
                       "' is none of masked, sparse; it was written by another version");
    }
  }
  return storages;
}

bool any_sparse(const std::vector<Storage>& storages) {
  return std::find(storages.begin(), storages.end(), Storage::kSparse) != storages.end();
}

std::vector<LayerShape> stored_sparsely(const std::vector<LayerShape>& layers,
                                        const std::vector<Storage>& storages) {
  std::vector<LayerShape> stored;
  for (std::size_t l = 0; l < layers.size() && l < storages.size(); ++l) {
    if (storages[l] == Storage::kSparse) stored.push_back(layers[l]);
  }
  return stored;
}

std::vector<LayerShape> linear_layers(const Config& config) {
  const auto data = load_dataset(config);
  std::vector<LayerShape> layers =
      outline_of(config).layers(config, network_shape(*data, make_tasks(config, *data)));
  const std::vector<std::string> exempt = policies_of(config, Level::kWeights).start.exempt;
  for (LayerShape& layer : layers) {
    layer.exempt = std::count(exempt.begin(), exempt.end(), layer.name) != 0;
  }
  return layers;
}

std::vector<Storage> choose_storage(const Config& config, const std::string& device,
                                    BreakEven& measured) {
  const Policies weights = policies_of(config, Level::kWeights);
  const std::string& said = config.text("storage");
  if (said == "sparse") check_sparse(config, weights, device);
  const bool may = may_be_sparse(config, weights, is_gpu(device));
  if (said == "masked" || (said == "auto" && !may)) return {};
  try {
    const std::vector<LayerShape> layers = linear_layers(config);
    if (said == "auto") return by_break_even(config, layers, weights, measured);
    std::vector<Storage> storages;
    for (const LayerShape& layer : layers) {
      storages.push_back(layer.exempt ? Storage::kMasked : Storage::kSparse);
    }
    return storages;
  } catch (const Error&) {
    return {};
  }
}

StorageChooser storage_chooser(BreakEven measured) {
  struct Memory {
    BreakEven measured;
    std::map<std::string, std::vector<Storage>> chosen;
  };
  const auto memory = std::make_shared<Memory>(Memory{std::move(measured), {}});
  return [memory](const Config& config, const std::string& device) {
    // Among the numbers that may differ in a group, density alone decides.
    const std::string kind = device + "\n" + config.text("density") + "\n" + group_key(config);
    const auto known = memory->chosen.find(kind);
    if (known != memory->chosen.end()) return known->second;
    return memory->chosen[kind] = choose_storage(config, device, memory->measured);
  };
}

}  // namespace tandem
