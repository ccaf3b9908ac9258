// This family measures how concentrated weights are, per layer with connections and for the whole
// net.
//   kept_mass         1 - sum of |w| over what the largest |w|, as many as the sparse net has at
//   the
//                     run's density, leave out / sum |w|
//   kept_energy       the same with squares
//   entropy           -sum p log p / log n, p = |w| / sum |w| over the n positions of a layer
//   row_entropy       the same over the weights that enter one unit, mean over units with any
//   active_count, density    of the current mask
//   effective_density share of positions that lie, active, on a path from an input to an output
//                     once dead units are removed, of the sparse net (Vysogorets & Kempe, arXiv
//                     2107.02306)
// Kept mass and energy exist only where dormant weights carry values. Entropy counts what is
// dormant at its value, so that it falls with density where that is zero. For the whole net counts
// and densities are totals over the layers with connections, the others means over them. Paths are
// followed through chains of layers only, not through residual streams.
#include <cmath>

#include "data/tensor.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

double entropy(const at::Tensor& mass) {  // [n]
  const at::Tensor p = mass / mass.sum();
  return -torch::xlogy(p, p).sum().item<double>() / std::log(static_cast<double>(mass.numel()));
}

// Returns the mean over the columns of [in,out] that have any mass.
double row_entropy(const at::Tensor& mass) {
  const at::Tensor total = mass.sum(0);
  const at::Tensor p = mass / total;
  const at::Tensor each = -torch::xlogy(p, p).sum(0);
  return each.masked_select(total > 0).mean().item<double>() /
         std::log(static_cast<double>(mass.size(0)));
}

void record_entropy(Recorder& rows, const Linear& layer, std::int64_t r) {
  const at::Tensor mass = layer.weight.value.detach()[r].abs().to(torch::kDouble);
  rows.layer(r, kWeightsLevel, layer.name(), "entropy", entropy(mass.view(-1)));
  rows.layer(r, kWeightsLevel, layer.name(), "row_entropy", row_entropy(mass));
}

void record_kept(Recorder& rows, const Linear& layer, const at::Tensor& mask, std::int64_t r) {
  const at::Tensor mass = layer.weight.value.detach()[r].abs().to(torch::kDouble).view(-1);
  const at::Tensor dropped = mass.masked_fill(mask[r].ne(0), 0);
  const auto share = [](const at::Tensor& part, const at::Tensor& all) {
    return part.sum().item<double>() / all.sum().item<double>();
  };
  rows.layer(r, kWeightsLevel, layer.name(), "kept_mass", 1 - share(dropped, mass));
  rows.layer(r, kWeightsLevel, layer.name(), "kept_energy",
             1 - share(dropped.square(), mass.square()));
}

// Returns the weights of each layer that lie on a path from an input to an output; edges[l] is bool
// [in,out].
std::vector<std::int64_t> effective_counts(const std::vector<at::Tensor>& edges) {
  const std::size_t depth = edges.size();
  std::vector<at::Tensor> reached = {torch::ones_like(edges.front().select(1, 0))};
  for (const at::Tensor& edge : edges) {
    reached.push_back((edge & reached.back().unsqueeze(1)).any(0));
  }
  at::Tensor leads = torch::ones_like(edges.back().select(0, 0));  // units that reach an output
  std::vector<std::int64_t> counts(depth);
  for (std::size_t l = depth; l-- > 0;) {
    const at::Tensor onward = edges[l] & leads.unsqueeze(0);
    counts[l] = (onward & reached[l].unsqueeze(1)).sum().item<std::int64_t>();
    leads = onward.any(1);
  }
  return counts;
}

void record_effective(Recorder& rows, Model& model, const LayerMasks& masks, std::int64_t r) {
  const std::vector<Linear*> linears = model.linears();
  std::vector<at::Tensor> edges;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    const at::Tensor weight = linears[l]->weight.value.detach()[r];
    edges.push_back(masks[l].defined() ? masks[l][r].view(weight.sizes()).ne(0)
                                       : torch::ones_like(weight, torch::kBool));
  }
  const std::vector<std::int64_t> counts = effective_counts(edges);
  double effective = 0, positions = 0;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (!masks[l].defined()) continue;
    const auto n = static_cast<double>(edges[l].numel());
    const auto count = static_cast<double>(counts[l]);
    rows.layer(r, kWeightsLevel, linears[l]->name(), "effective_density", count / n,
               WholeNetRow::kNone);
    effective += count;
    positions += n;
  }
  rows.whole(r, kWeightsLevel, "effective_density", effective / positions);
}

void record_active(Recorder& rows, Model& model, std::int64_t r) {
  double active = 0, positions = 0;
  for (const Linear* layer : model.linears()) {
    if (layer->connections == nullptr) continue;
    const auto own = static_cast<double>(layer->connections->active(r));
    const auto n = static_cast<double>(layer->connections->positions());
    rows.layer(r, kWeightsLevel, layer->name(), "active_count", own, WholeNetRow::kSum);
    rows.layer(r, kWeightsLevel, layer->name(), "density", own / n, WholeNetRow::kNone);
    active += own;
    positions += n;
  }
  rows.whole(r, kWeightsLevel, "density", active / positions);
}

// As many of the largest |w| as a mask has, uint8 [R,n].
at::Tensor largest(const Linear& layer, const at::Tensor& mask) {
  const at::Tensor counts = mask.sum(1, /*keepdim=*/false, torch::kLong).to(torch::kCPU);
  const auto* begin = counts.data_ptr<std::int64_t>();
  return ranked_mask(magnitudes(layer), {}, {begin, begin + counts.numel()});
}

class WeightsProbe : public Probe {
 public:
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Model& model = input.model;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    const std::vector<Linear*> linears = model.linears();
    LayerMasks by_magnitude(linears.size());
    if (dormant_carry_values(input.runs)) {
      const LayerMasks kept =
          readout_masks(model, input.runs, trained_density(input.runs), input.ranking);
      for (std::size_t l = 0; l < linears.size(); ++l) {
        if (kept[l].defined()) by_magnitude[l] = largest(*linears[l], kept[l]);
      }
    }
    const bool chain = is_chain(model);
    const LayerMasks sparse =
        chain ? trained_masks(model, input.runs, input.ranking) : LayerMasks();
    Recorder rows(replicas);
    for (std::int64_t r = 0; r < replicas; ++r) {
      for (std::size_t l = 0; l < linears.size(); ++l) {
        if (linears[l]->connections == nullptr) continue;
        record_entropy(rows, *linears[l], r);
        if (by_magnitude[l].defined()) record_kept(rows, *linears[l], by_magnitude[l], r);
      }
      record_active(rows, model, r);
      if (chain) record_effective(rows, model, sparse, r);
    }
    return rows.finish();
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "weights",
     .summary = "per layer: kept_mass, kept_energy (where dormant weights carry values), entropy, "
                "row_entropy, active_count, density, effective_density",
     .cite = "arXiv:2107.02306",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<WeightsProbe>();
    });

}  // namespace
}  // namespace tandem
