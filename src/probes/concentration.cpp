// This family measures how concentrated the active weights are, alike for every method: the sparse
// net of k connections is pruned within itself, layer by layer, to the k/2 and k/4 largest.
//   loss_active, loss_half, loss_quarter, accuracy_...   on the probe batch
//   output_error_half, output_error_quarter   |logits - logits of all k| / |logits of all k|, of
//   the
//                   outputs that an example is read out with
//   top_half_mass   share of the L1 mass that enters a unit carried by the larger half (rounded
//   down)
//                   of its active weights; mean over the units with 2 or more
// Biases, norms and layers without connections stay.
#include <algorithm>

#include "data/tensor.h"
#include "nn/own_outputs.h"
#include "probes/recorder.h"
#include "readout/readout.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

// Keeps the largest 1/divisor of what `masks` keeps, in each layer.
LayerMasks pruned_within(Model& model, const LayerMasks& masks, std::int64_t divisor) {
  const std::vector<Linear*> linears = model.linears();
  LayerMasks pruned(masks.size());
  for (std::size_t l = 0; l < masks.size(); ++l) {
    if (!masks[l].defined()) continue;
    const at::Tensor present = masks[l].sum(1, /*keepdim=*/false, torch::kLong).to(torch::kCPU);
    std::vector<std::int64_t> counts;
    for (std::int64_t r = 0; r < present.size(0); ++r) {
      const auto active = present[r].item<std::int64_t>();
      counts.push_back(active == 0 ? 0 : std::max<std::int64_t>(1, active / divisor));
    }
    pruned[l] = select_rows(magnitudes(*linears[l]), masks[l], counts, /*largest=*/true);
  }
  return pruned;
}

// `weight` and `mask` are [in,out].
double top_half_mass(const at::Tensor& weight, const at::Tensor& mask) {
  const at::Tensor active = mask.ne(0);
  const at::Tensor mass = weight.abs().to(torch::kDouble).masked_fill(active.logical_not(), 0);
  const at::Tensor count = active.sum(0), total = mass.sum(0);
  const at::Tensor sums = std::get<0>(mass.sort(0, /*descending=*/true)).cumsum(0);
  const at::Tensor last = count.div(2, "floor").sub(1).clamp_min(0).unsqueeze(0);
  const at::Tensor share = sums.gather(0, last).squeeze(0) / total;
  return share.masked_select((count >= 2) & (total > 0)).mean().item<double>();
}

class ConcentrationProbe : public Probe {
 public:
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Model& model = input.model;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    if (model.sites(Level::kWeights) == 0) return rows.finish();
    const LayerMasks masks = trained_masks(model, input.runs, input.ranking);
    record_rows(rows, model, masks);
    const at::Tensor whole = read_out(rows, input, masks, "active");
    for (const auto& [name, divisor] : {std::pair{"half", 2}, {"quarter", 4}}) {
      const at::Tensor pruned = read_out(rows, input, pruned_within(model, masks, divisor), name);
      for (std::int64_t r = 0; r < whole.size(0); ++r) {
        const at::Tensor own = whole[r].to(torch::kDouble);
        const at::Tensor error = (own - pruned[r]).norm() / own.norm();
        rows.whole(r, kWeightsLevel, std::string("output_error_") + name, error.item<double>());
      }
    }
    return rows.finish();
  }

 private:
  static void record_rows(Recorder& rows, Model& model, const LayerMasks& masks) {
    const std::vector<Linear*> linears = model.linears();
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (!masks[l].defined()) continue;
      const at::Tensor weight = linears[l]->weight.value.detach();
      for (std::int64_t r = 0; r < weight.size(0); ++r) {
        rows.layer(r, kWeightsLevel, linears[l]->name(), "top_half_mass",
                   top_half_mass(weight[r], masks[l][r].view_as(weight[r])));
      }
    }
  }

  static at::Tensor read_out(Recorder& rows, const ProbeInput& input, const LayerMasks& masks,
                             const std::string& name) {
    const MaskedWeights masked(input.model, masks);
    Context context = trained_context(input.runs);
    context.plans.weights.wanted = StreamsWanted::kFull;
    const at::Tensor logits = input.model.forward(input.x, context);
    const at::Tensor loss = input.loss(logits), accuracy = input.accuracy(logits);
    for (std::int64_t r = 0; r < logits.size(0); ++r) {
      rows.whole(r, kWeightsLevel, "loss_" + name, loss[r].item<double>());
      rows.whole(r, kWeightsLevel, "accuracy_" + name, accuracy[r].item<double>());
    }
    return own_outputs(logits, input.outputs_allowed);
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "concentration",
     .summary = "active weights pruned within the net to k/2 and k/4: loss_, accuracy_ and "
                "output_error_ half and quarter; top_half_mass per layer",
     .cite = "",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<ConcentrationProbe>();
    });

}  // namespace
}  // namespace tandem
