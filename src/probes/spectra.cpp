// This family computes spectra of the sparse net's layers, of M*W and of M alone, [in,out].
//   spectral_norm    s_1, the largest singular value of M*W
//   stable_rank      |M*W|_F^2 / s_1^2
//   effective_rank   exp of the entropy (nats) of s_i / sum s (Roy & Vetterli 2007)
//   graph_sigma2     second singular value of D_in^(-1/2) M D_out^(-1/2), the layer as a bipartite
//                    graph between inputs and outputs; the first is 1
//   spectral_gap     1 - graph_sigma2: 1 where all are connected, 0 where the graph falls apart
//   components       connected components among the units that have a connection
//   fan_in_min, fan_in_mean, fan_in_max   connections of an output unit
//   fan_out_min, fan_out_mean, fan_out_max   of an input unit
// For the whole net `components` counts those of all layers' graph together where they form a
// chain, and the others are means. Layers whose smaller side is above 1,024 have no rows of
// singular values.
#include <algorithm>
#include <numeric>

#include "data/tensor.h"
#include "probes/recorder.h"
#include "probes/spectrum.h"
#include "readout/readout.h"

namespace tandem {
namespace {

class Components {  // union-find with path halving
 public:
  explicit Components(std::int64_t units)
      : parent_(static_cast<std::size_t>(units)), used_(parent_.size(), 0) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  void join(std::int64_t a, std::int64_t b) {
    used_[static_cast<std::size_t>(a)] = used_[static_cast<std::size_t>(b)] = 1;
    parent_[root(static_cast<std::size_t>(a))] = root(static_cast<std::size_t>(b));
  }
  // Adds the edges of mask, bool [in,out]; units are numbered from `first`, inputs before outputs.
  void join_layer(const at::Tensor& mask, std::int64_t first) {
    const at::Tensor edges = mask.nonzero().contiguous();  // [E,2]
    const auto* ends = edges.data_ptr<std::int64_t>();
    for (std::int64_t e = 0; e < edges.size(0); ++e) {
      join(first + ends[2 * e], first + mask.size(0) + ends[2 * e + 1]);
    }
  }
  std::int64_t count() {
    std::int64_t roots = 0;
    for (std::size_t u = 0; u < parent_.size(); ++u) roots += used_[u] != 0 && root(u) == u;
    return roots;
  }

 private:
  std::size_t root(std::size_t u) {
    while (parent_[u] != u) u = parent_[u] = parent_[parent_[u]];
    return u;
  }
  std::vector<std::size_t> parent_;
  std::vector<char> used_;
};

// `mask` is bool [in,out].
double graph_sigma2(const at::Tensor& mask) {
  const at::Tensor edges = mask.to(torch::kDouble);
  const auto scale = [](const at::Tensor& degree) {
    return torch::where(degree > 0, degree.rsqrt(), torch::zeros_like(degree));
  };
  const at::Tensor normalised =
      scale(edges.sum(1)).unsqueeze(1) * edges * scale(edges.sum(0)).unsqueeze(0);
  const std::vector<double> values = singular_values(normalised);
  return values.size() < 2 ? 0 : values[1];
}

void record_degrees(Recorder& rows, std::int64_t r, const std::string& layer,
                    const at::Tensor& mask) {
  for (const auto& [name, dim] : {std::pair{"fan_in", 0}, {"fan_out", 1}}) {
    const at::Tensor degree = mask.sum(dim).to(torch::kDouble);
    const auto row = [&](const std::string& which, const at::Tensor& value) {
      rows.layer(r, kWeightsLevel, layer, std::string(name) + which, value.item<double>());
    };
    row("_min", degree.min());
    row("_mean", degree.mean());
    row("_max", degree.max());
  }
}

class SpectraProbe : public Probe {
 public:
  bool reads_dense_weights() const override { return true; }
  bool by_default() const override { return false; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const std::vector<Linear*> linears = input.model.linears();
    const LayerMasks masks = trained_masks(input.model, input.runs, input.ranking);
    const bool chain = is_chain(input.model);
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    for (std::size_t r = 0; r < input.runs.size(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      if (!input.wants(replica)) continue;
      std::vector<at::Tensor> edges;
      for (std::size_t l = 0; l < linears.size(); ++l) {
        const at::Tensor weight =
            linears[l]->weight.value.detach()[replica].to(torch::kCPU, torch::kDouble);
        edges.push_back(masks[l].defined()
                            ? masks[l][replica].to(torch::kCPU).view(weight.sizes()).ne(0)
                            : torch::ones_like(weight, torch::kBool));
        if (masks[l].defined()) {
          record_layer(rows, replica, linears[l]->name(), weight, edges.back(), chain);
        }
      }
      if (chain) rows.whole(replica, kWeightsLevel, "components", components_of_chain(edges));
    }
    return rows.finish();
  }

 private:
  static void record_layer(Recorder& rows, std::int64_t r, const std::string& layer,
                           const at::Tensor& weight, const at::Tensor& mask, bool chain) {
    const auto row = [&](const char* name, double value) {
      rows.layer(r, kWeightsLevel, layer, name, value);
    };
    record_degrees(rows, r, layer, mask);
    Components components(mask.size(0) + mask.size(1));
    components.join_layer(mask, 0);
    rows.layer(r, kWeightsLevel, layer, "components", static_cast<double>(components.count()),
               chain ? WholeNetRow::kNone : WholeNetRow::kMean);
    if (std::min(mask.size(0), mask.size(1)) > kLargestSpectrum) return;
    const Spectrum own = spectrum_of(weight.masked_fill(mask.logical_not(), 0));
    row("spectral_norm", own.norm);
    row("stable_rank", own.stable_rank);
    row("effective_rank", own.effective_rank);
    const double sigma2 = graph_sigma2(mask);
    row("graph_sigma2", sigma2);
    row("spectral_gap", 1 - sigma2);
  }

  static double components_of_chain(const std::vector<at::Tensor>& edges) {
    std::int64_t units = edges.front().size(0);
    for (const at::Tensor& layer : edges) units += layer.size(1);
    Components components(units);
    std::int64_t first = 0;
    for (const at::Tensor& layer : edges) {
      components.join_layer(layer, first);
      first += layer.size(0);
    }
    return static_cast<double>(components.count());
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "spectra",
     .summary = "not by default; per layer of the sparse net: spectral_norm, stable_rank, "
                "effective_rank; of its graph: graph_sigma2, spectral_gap, components, "
                "fan_in_min/_mean/_max, fan_out_min/_mean/_max",
     .cite = "Roy & Vetterli 2007",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<SpectraProbe>();
    });

}  // namespace
}  // namespace tandem
