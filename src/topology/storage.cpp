#include "topology/storage.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "data/tensor.h"
#include "kernels/select/stream.h"
#include "topology/initial_mask.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"
#include "topology/sparse_connections.h"

namespace tandem {
namespace {

constexpr std::int64_t kRanked = std::int64_t{1} << 18;

// Returns the `count` positions of largest |w|, in the dtype that the weights will have.
template <class T>
std::vector<std::int64_t> largest_draws(const InitialWeights& initial, std::int64_t replica,
                                        std::int64_t count) {
  TopStream<T> stream(count, /*largest=*/true);
  std::vector<T> block;
  for (std::int64_t first = 0; first < initial.positions(); first += kRanked) {
    block.resize(static_cast<std::size_t>(std::min(kRanked, initial.positions() - first)));
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] =
          static_cast<T>(std::abs(initial.at(replica, first + static_cast<std::int64_t>(i))));
    }
    stream.add(first, block.data(), nullptr, static_cast<std::int64_t>(block.size()));
  }
  std::vector<std::int64_t> positions;
  TORCH_INTERNAL_ASSERT(stream.finish(positions) == kSelectDone);
  return positions;
}

std::vector<std::int64_t> start_positions(const InitialWeights& initial, const LayerStart& start,
                                          std::int64_t replica) {
  const auto r = static_cast<std::size_t>(replica);
  if (!start.masks.empty() && !start.masks[r].empty()) return start.masks[r];
  const std::int64_t n = initial.positions();
  const bool all = std::all_of(start.active.begin(), start.active.end(),
                               [n](std::int64_t count) { return count == n; });
  if (start.pattern == Start::Pattern::kDense || all) {
    std::vector<std::int64_t> positions(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) positions[static_cast<std::size_t>(i)] = i;
    return positions;
  }
  if (start.pattern == Start::Pattern::kRandom) {
    return random_ranks(draw_stream(start.keys[r], Draw::kGrow), n, start.active[r]);
  }
  return start.dtype == torch::kFloat ? largest_draws<float>(initial, replica, start.active[r])
                                      : largest_draws<double>(initial, replica, start.active[r]);
}

std::unique_ptr<Connections> start_sparse(Parameter& parameter, const InitialWeights& initial,
                                          const LayerStart& start) {
  TORCH_INTERNAL_ASSERT(start.device.is_cpu(), "a sparse storage is for a CPU");
  std::vector<std::vector<std::int64_t>> positions;
  std::int64_t total = 0;
  for (std::int64_t r = 0; r < initial.replicas(); ++r) {
    positions.push_back(start_positions(initial, start, r));
    total += static_cast<std::int64_t>(positions.back().size());
  }
  at::Tensor values = torch::empty({total}, torch::kFloat64);
  auto* next = values.data_ptr<double>();
  for (std::int64_t r = 0; r < initial.replicas(); ++r) {
    for (const std::int64_t position : positions[static_cast<std::size_t>(r)]) {
      *next++ = initial.at(r, position);
    }
  }
  parameter.value = values.to(start.dtype).requires_grad_(true);
  auto sparse =
      std::make_unique<SparseConnections>(parameter, initial.inputs, initial.outputs, positions);
  sparse->set_initial(initial);
  return sparse;
}

// The rows of the replicas whose masks are given take the place of those in `mask`, uint8 [R,n],
// which is undefined where everything is active.
at::Tensor with_given_masks(const at::Tensor& mask, const LayerStart& start, std::int64_t n) {
  const bool any = std::any_of(start.masks.begin(), start.masks.end(),
                               [](const auto& own) { return !own.empty(); });
  if (!any) return mask;
  const auto replicas = static_cast<std::int64_t>(start.masks.size());
  const at::Tensor rows = mask.defined() ? mask.to(torch::kCPU).clone(at::MemoryFormat::Contiguous)
                                         : torch::ones({replicas, n}, torch::kByte);
  for (std::int64_t r = 0; r < replicas; ++r) {
    const auto& own = start.masks[static_cast<std::size_t>(r)];
    if (own.empty()) continue;
    auto* row = rows[r].zero_().data_ptr<std::uint8_t>();
    for (const std::int64_t position : own) row[position] = 1;
  }
  return rows.to(start.device);
}

}  // namespace

std::string storage_name(Storage storage) {
  return storage == Storage::kMasked ? "masked" : "sparse";
}

Storage storage_of_name(const std::string& name) {
  for (const Storage each : {Storage::kMasked, Storage::kSparse}) {
    if (storage_name(each) == name) return each;
  }
  throw ConfigError("'" + name + "' is no storage of connections: masked or sparse");
}

double stored_density(const Policies& weights) {
  return std::max(weights.start.first_density(), weights.sets.superset);
}

std::vector<LayerStart> layer_starts(const std::vector<Start>& starts,
                                     const std::vector<LayerShape>& layers,
                                     const std::vector<std::uint64_t>& run_keys) {
  TORCH_INTERNAL_ASSERT(!starts.empty() && starts.size() == run_keys.size());
  std::vector<LayerStart> made(layers.size());
  for (std::size_t r = 0; r < starts.size(); ++r) {
    const auto budgets = spread_budget(layers, starts[r], starts[r].first_density());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      made[l].pattern = starts.front().pattern;
      made[l].granularity = starts.front().granularity;
      made[l].active.push_back(budgets[l].active);
      made[l].keys.push_back(topology_key(run_keys[r], static_cast<std::int64_t>(l), 0));
    }
  }
  made.back().granularity.ablation = 0;
  return made;
}

at::Tensor draw_dense(const InitialWeights& initial, at::ScalarType dtype) {
  const at::Tensor values =
      torch::empty({initial.replicas(), initial.inputs, initial.outputs}, torch::kFloat64);
  auto* out = values.data_ptr<double>();
  for_each_index(static_cast<std::size_t>(initial.replicas()), host_threads(), [&](std::size_t r) {
    const auto replica = static_cast<std::int64_t>(r);
    double* own = out + replica * initial.positions();
    for (std::int64_t i = 0; i < initial.positions(); ++i) {
      own[i] = initial.at(replica, i);
    }
  });
  return values.to(dtype);
}

std::unique_ptr<Connections> start_connections(Parameter& parameter, const InitialWeights& initial,
                                               const LayerStart& start) {
  if (start.storage == Storage::kSparse) return start_sparse(parameter, initial, start);
  const at::Tensor drawn = draw_dense(initial, start.dtype).to(start.device);
  parameter.value = drawn.requires_grad_(true);
  const at::Tensor drawn_mask = initial_mask(start.pattern, parameter.value.detach(), start.active,
                                             start.keys, start.granularity);
  const at::Tensor mask = with_given_masks(drawn_mask, start, initial.positions());
  auto masked = std::make_unique<MaskedConnections>(parameter, mask);
  masked->set_granularity(start.granularity);
  masked->set_zero_dormant(start.zero_dormant);
  return masked;
}

}  // namespace tandem
