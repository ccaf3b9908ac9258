#include "probes/readout.h"

#include <algorithm>

#include "core/shape.h"
#include "data/tensor.h"
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

// Whether the current masks are what ranking active positions first would give, whatever their
// spread over layers.
bool stays_as_it_is(const ProbeRun& run, std::int64_t active, std::int64_t budget) {
  if (run.weights.dormant_carry_values()) return active == budget;
  return active <= budget;
}

}  // namespace

bool dormant_carry_values(const std::vector<ProbeRun>& runs) {
  return runs.front().weights.dormant_carry_values();
}

bool ranks_active_first(const std::vector<ProbeRun>& runs) {
  return !dormant_carry_values(runs) || !runs.front().weights.has_full_stream();
}

std::vector<double> trained_density(const std::vector<ProbeRun>& runs) {
  std::vector<double> density;
  for (const ProbeRun& run : runs) density.push_back(run.weights.start.density);
  return density;
}

LayerCounts readout_counts(Model& model, const std::vector<ProbeRun>& runs,
                           const std::vector<double>& density) {
  TORCH_INTERNAL_ASSERT(!runs.empty() && density.size() == runs.size(), density.size(),
                        " densities for ", runs.size(), " runs");
  const std::vector<Linear*> linears = model.linears();
  const std::vector<LayerShape> shapes = shapes_of(model);
  const bool active_first = ranks_active_first(runs);
  LayerCounts counts(linears.size());
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto budgets = spread_budget(shapes, density[r], runs[r].weights.start.budget);
    std::int64_t active = 0, budget = 0;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (shapes[l].exempt) continue;
      active += linears[l]->connections->active(static_cast<std::int64_t>(r));
      budget += budgets[l].active;
    }
    const bool stays = active_first && stays_as_it_is(runs[r], active, budget);
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (shapes[l].exempt) continue;
      counts[l].push_back(stays ? linears[l]->connections->active(static_cast<std::int64_t>(r))
                                : budgets[l].active);
    }
  }
  return counts;
}

LayerMasks readout_masks(Model& model, const LayerCounts& counts, bool active_first) {
  const std::vector<Linear*> linears = model.linears();
  LayerMasks masks(linears.size());
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (!counts[l].empty()) masks[l] = readout_mask(*linears[l], counts[l], active_first);
  }
  return masks;
}

LayerMasks trained_masks(Model& model, const std::vector<ProbeRun>& runs) {
  if (dormant_carry_values(runs)) {
    return readout_masks(model, readout_counts(model, runs, trained_density(runs)),
                         ranks_active_first(runs));
  }
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

Context trained_context(const std::vector<ProbeRun>& runs) {
  const auto view = [](const Policies& policies) {
    return policies.has_full_stream() ? View::kFull : View::kSparse;
  };
  Context context;
  context.attention.view = view(runs.front().attention);
  context.weights.view = view(runs.front().weights);
  return context;
}

std::vector<at::Tensor> put_masked(Model& model, const LayerMasks& masks) {
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

void put_back(Model& model, const std::vector<at::Tensor>& kept) {
  const std::vector<Linear*> linears = model.linears();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (kept[l].defined()) linears[l]->weight.value = kept[l];
  }
}

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
