// How many runs train at once.
#include <algorithm>

#include "jobs/device.h"
#include "jobs/storage_choice.h"
#include "jobs/working_set.h"
#include "methods/method.h"
#include "readout/readout.h"

namespace tandem {
namespace {

constexpr double kGpuShare = 0.85;  // of its memory
constexpr std::int64_t kGpuMost = 1024;

// On a CPU a group gains while it shares the cost of each call and loses once it leaves the cache.
constexpr double kCacheBytes = 8e6;
constexpr std::int64_t kCpuMost = 16;
// Per active weight of a sparse layer, beside the four of a masked one: its copy in the forward
// order, and its places in both indices.
constexpr double kSparseNumbers = 6.0 / 4.0;

double stored_weights(const Config& config, const std::vector<Storage>& storage) {
  const std::vector<LayerShape> layers = linear_layers(config);
  const Policies weights = policies_of(config, Level::kWeights);
  const std::vector<LayerBudget> budgets =
      spread_budget(layers, stored_density(weights), weights.start.budget);
  double stored = 0;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const bool sparse = l < storage.size() && storage[l] == Storage::kSparse;
    stored += sparse ? kSparseNumbers * static_cast<double>(budgets[l].active)
                     : static_cast<double>(layers[l].positions());
  }
  return stored;
}

// Read-outs and probes take dense copies of all runs at once. What can't be copied alone is the
// business of whoever checks the run.
std::int64_t most_copied(const Config& config, const std::vector<Storage>& storage) {
  std::int64_t positions = 0;
  for (const LayerShape& layer : stored_sparsely(linear_layers(config), storage)) {
    positions += layer.positions();
  }
  return std::max<std::int64_t>(1, kDenseCopyPositions / std::max<std::int64_t>(1, positions));
}

std::int64_t whole_groups(double bytes, double each, std::int64_t most) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(bytes / each), 1, most);
}

}  // namespace

std::int64_t group_size(const Config& config, const std::string& device,
                        const std::vector<Storage>& storage) {
  if (is_gpu(device)) {
    return whole_groups(kGpuShare * static_cast<double>(device_bytes(device)), gpu_bytes_of(config),
                        kGpuMost);
  }
  WorkingSet set = working_set(config, 0);
  std::int64_t most = kCpuMost;
  if (any_sparse(storage)) {
    set.weights = stored_weights(config, storage);
    most = std::min(most, most_copied(config, storage));
  }
  return whole_groups(kCacheBytes, 4 * (4 * set.weights + set.activations), most);
}

}  // namespace tandem
