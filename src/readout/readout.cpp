#include "readout/readout.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/shape.h"
#include "data/tensor.h"
#include "topology/granularity.h"
#include "topology/masked_connections.h"

namespace tandem {
namespace {

std::vector<LayerShape> shapes_of(Model& model) {
  std::vector<LayerShape> shapes;
  for (const Linear* layer : model.linears()) {
    shapes.push_back(
        {layer->name(), layer->inputs(), layer->outputs(), layer->connections == nullptr});
  }
  return shapes;
}

// The net at a budget is the net as it is, whatever its spread over layers. own: at the density
// that it trains at.
bool stays_as_it_is(const ReadoutRun& run, bool own, std::int64_t active, std::int64_t budget) {
  if (!has_mask(run)) return false;
  if (own) return active <= budget;
  if (!ranks_active_first(run)) return false;
  return run.policies.weights.dormant_carry_values() ? active == budget : active <= budget;
}

// Calls visit(replica, budgets of the layers at its density, whether its net stays as it is).
template <class Visit>
void for_each_replica(Model& model, const std::vector<ReadoutRun>& runs,
                      const std::vector<double>& density, const Visit& visit) {
  TORCH_INTERNAL_ASSERT(!runs.empty() && density.size() == runs.size(), density.size(),
                        " densities for ", runs.size(), " runs");
  const std::vector<Linear*> linears = model.linears();
  const std::vector<LayerShape> shapes = shapes_of(model);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    const Start& start = runs[r].policies.weights.start;
    const bool own = density[r] == start.density;  // where the granularity is that of training
    const auto budgets = own ? spread_budget(shapes, start, density[r])
                             : spread_budget(shapes, density[r], start.budget);
    std::int64_t active = 0, budget = 0;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (shapes[l].exempt) continue;
      const Connections& layer = *linears[l]->connections;
      active += own ? layer.active_items(replica) : layer.active(replica);
      budget +=
          own ? budget_items(shapes[l], start.granularity, budgets[l].active) : budgets[l].active;
    }
    visit(replica, budgets, stays_as_it_is(runs[r], own, active, budget));
  }
}

bool is_dense(const Linear& layer) {
  return layer.connections == nullptr || layer.connections->is_dense();
}

}  // namespace

bool is_chain(Model& model) {
  if (model.sites(Level::kAttention) > 0) return false;
  const std::vector<Linear*> linears = model.linears();
  for (std::size_t l = 0; l + 1 < linears.size(); ++l) {
    if (linears[l]->outputs() != linears[l + 1]->inputs()) return false;
  }
  return !linears.empty();
}

bool dormant_carry_values(const std::vector<ReadoutRun>& runs) {
  return runs.front().policies.weights.dormant_carry_values();
}

bool has_mask(const ReadoutRun& run) {
  return run.policies.weights.schedule.kind != Schedule::Kind::kFull && !run.full_phase;
}

bool ranks_active_first(const ReadoutRun& run) {
  const auto& operations = run.policies.weights.topology.operations;
  const bool mask_is_a_ranking =
      std::any_of(operations.begin(), operations.end(), [](const TopologyOperation& operation) {
        return operation.kind == TopologyOperation::Kind::kRank;
      });
  const bool zeros =
      run.policies.weights.dormant_stay_zero() || run.policies.weights.dormant.zeroed_by_phases;
  return has_mask(run) && (zeros || !mask_is_a_ranking);
}

std::vector<double> trained_density(const std::vector<ReadoutRun>& runs) {
  std::vector<double> density;
  for (const ReadoutRun& run : runs) density.push_back(run.policies.weights.start.density);
  return density;
}

LayerCounts budget_counts(Model& model, const std::vector<ReadoutRun>& runs,
                          const std::vector<double>& density) {
  const std::vector<Linear*> linears = model.linears();
  LayerCounts counts(linears.size());
  for_each_replica(model, runs, density, [&](std::int64_t, const auto& budgets, bool) {
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (linears[l]->connections != nullptr) counts[l].push_back(budgets[l].active);
    }
  });
  return counts;
}

std::vector<char> own_nets(Model& model, const std::vector<ReadoutRun>& runs,
                           const std::vector<double>& density) {
  std::vector<char> own;
  for_each_replica(model, runs, density,
                   [&](std::int64_t, const auto&, bool stays) { own.push_back(stays); });
  return own;
}

bool keeps_own_nets(Model& model, const std::vector<ReadoutRun>& runs,
                    const std::vector<double>& density) {
  const std::vector<char> own = own_nets(model, runs, density);
  return std::find(own.begin(), own.end(), 0) == own.end();
}

LayerMasks current_masks(Model& model) {
  LayerMasks masks;
  for (const Linear* layer : model.linears()) {
    masks.push_back(layer->connections == nullptr ? at::Tensor() : current_flags(*layer));
  }
  return masks;
}

at::Tensor magnitudes(const Linear& layer) {
  const at::Tensor value = layer.weight.value.detach();
  expect_shape(value, {-1, layer.inputs(), layer.outputs()}, layer.weight.name);
  return value.abs().view({value.size(0), -1});
}

at::Tensor current_flags(const Linear& layer) {
  const at::Tensor& value = layer.weight.value;
  expect_shape(value, {-1, layer.inputs(), layer.outputs()}, layer.weight.name);
  const at::Tensor flags =
      layer.connections == nullptr ? at::Tensor() : layer.connections->active_flags();
  if (flags.defined()) return flags.view({value.size(0), -1});
  return torch::ones({value.size(0), layer.inputs() * layer.outputs()},
                     torch::TensorOptions(value.device()).dtype(torch::kByte));
}

Context trained_context(const std::vector<ReadoutRun>& runs) {
  const auto view = [](const Policies& policies) {
    return policies.has_full_stream() ? StreamsWanted::kFull : StreamsWanted::kSparse;
  };
  Context context;
  context.plans.attention.wanted = view(runs.front().policies.attention);
  context.plans.weights.wanted = view(runs.front().policies.weights);
  return context;
}

std::vector<at::Tensor> mask_weights(Model& model, const LayerMasks& masks) {
  const std::vector<Linear*> linears = model.linears();
  std::vector<at::Tensor> swapped(linears.size());
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (!masks[l].defined()) continue;
    const at::Tensor value = linears[l]->weight.value.detach();
    swapped[l] = value.masked_fill(masks[l].view(value.sizes()).eq(0), 0);
  }
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (swapped[l].defined()) std::swap(swapped[l], linears[l]->weight.value);
  }
  return swapped;
}

void restore_weights(Model& model, const std::vector<at::Tensor>& kept) {
  const std::vector<Linear*> linears = model.linears();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (kept[l].defined()) linears[l]->weight.value = kept[l];
  }
}

std::string too_large_to_copy(Model& model) {
  std::vector<LayerShape> layers;
  std::int64_t replicas = 1;
  for (const Linear* layer : model.linears()) {
    if (is_dense(*layer)) continue;
    layers.push_back({layer->name(), layer->inputs(), layer->outputs()});
    replicas = layer->connections->replicas();
  }
  return too_large_to_copy(layers, replicas);
}

std::string too_large_to_copy(const std::vector<LayerShape>& layers, std::int64_t replicas) {
  std::int64_t total = 0;
  const LayerShape* largest = nullptr;
  for (const LayerShape& layer : layers) {
    total += layer.positions() * replicas;
    if (largest == nullptr || layer.positions() > largest->positions()) largest = &layer;
  }
  if (total <= kDenseCopyPositions) return {};
  const std::string each = replicas == 1 ? "" : fmt::format(" in each of {} runs", replicas);
  return fmt::format(
      "layer '{}' has {} x {} positions{}, {} in all layers that are stored sparsely, and dense "
      "copies are made of {} at most",
      largest->name, largest->inputs, largest->outputs, each, total, kDenseCopyPositions);
}

// Holds what a layer has of its own, and puts it back.
class DenseCopies::Layer {
 public:
  explicit Layer(Linear& layer)
      : layer_(layer), value_(layer.weight.value), connections_(std::move(layer.connections)) {}
  ~Layer() {
    layer_.weight.value = value_;
    layer_.connections = std::move(connections_);
    layer_.weight.connections = layer_.connections.get();
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  void copy() {
    layer_.weight.value =
        connections_->dense_values().detach().requires_grad_(value_.requires_grad());
    auto masked = std::make_unique<MaskedConnections>(layer_.weight, connections_->dense_flags());
    // Flags beside the stored values say that some of these are not active.
    masked->set_zero_dormant(!connections_->active_flags().defined());
    if (connections_->superset_flags().defined()) masked->set_superset(superset());
    layer_.connections = std::move(masked);
  }

 private:
  at::Tensor superset() const {  // uint8 [R,n]
    const at::Tensor flags =
        torch::zeros({connections_->replicas(), connections_->positions()}, torch::kByte);
    for (std::int64_t r = 0; r < connections_->replicas(); ++r) {
      const auto own = connections_->superset(r).positions();
      flags[r].index_fill_(0, torch::tensor(own, torch::kLong), 1);
    }
    return flags;
  }

  Linear& layer_;
  at::Tensor value_;
  std::unique_ptr<Connections> connections_;
};

DenseCopies::DenseCopies(Model& model) {
  const std::string too_large = too_large_to_copy(model);
  if (!too_large.empty()) {
    throw ConfigError(too_large + "; give --curve=false and --probe-every=0");
  }
  for (Linear* layer : model.linears()) {
    if (is_dense(*layer)) continue;
    layers_.push_back(std::make_unique<Layer>(*layer));
    layers_.back()->copy();
  }
}

DenseCopies::~DenseCopies() = default;

BorrowedMasks::BorrowedMasks(Model& model, const LayerMasks& masks) : linears_(model.linears()) {
  std::vector<std::unique_ptr<Connections>> borrowed(linears_.size());
  for (std::size_t l = 0; l < linears_.size(); ++l) {
    Parameter& parameter = linears_[l]->weight;
    Connections* own = parameter.connections;
    if (masks[l].defined()) borrowed[l] = std::make_unique<MaskedConnections>(parameter, masks[l]);
    parameter.connections = own;
  }
  kept_.resize(linears_.size());
  for (std::size_t l = 0; l < linears_.size(); ++l) {
    if (borrowed[l] == nullptr) continue;
    kept_[l] = std::move(linears_[l]->connections);
    linears_[l]->connections = std::move(borrowed[l]);
    linears_[l]->weight.connections = linears_[l]->connections.get();
  }
}

BorrowedMasks::~BorrowedMasks() {
  for (std::size_t l = 0; l < linears_.size(); ++l) {
    if (kept_[l] == nullptr) continue;
    linears_[l]->connections = std::move(kept_[l]);
    linears_[l]->weight.connections = linears_[l]->connections.get();
  }
}

}  // namespace tandem
