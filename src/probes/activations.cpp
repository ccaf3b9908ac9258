// This family measures how sparse hidden activations are, per hidden layer of H units.
//   l0          share of units that are active, mean over the batch
//   dead_units  units that no example activates
//   live_l0     l0 H / (H - dead_units): over units that live
// A unit is active where |h| > 0, or where |h| > 1e-3 root mean square of the layer if activations
// take both signs. For the whole net dead_units is a sum and the others are means. The stream is
// the full one where the method trains it.
#include "data/tensor.h"
#include "probes/active_units.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// `activation` is [...,H], of one replica.
void record_layer(Recorder& rows, std::int64_t r, const std::string& layer,
                  const at::Tensor& activation) {
  const at::Tensor units = activation.reshape({-1, activation.size(-1)});
  const at::Tensor active = active_units(units);
  const auto width = static_cast<double>(units.size(1));
  const auto dead = static_cast<double>(active.any(0).logical_not().sum().item<std::int64_t>());
  const double l0 = active.to(torch::kDouble).mean().item<double>();
  rows.layer(r, "", layer, "l0", l0);
  rows.layer(r, "", layer, "live_l0", l0 * width / (width - dead));
  rows.layer(r, "", layer, "dead_units", dead, WholeNetRow::kSum);
}

class ActivationsProbe : public Probe {
 public:
  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    Context context = trained_context(input.runs);
    context.observe_tensor = [&](const std::string& layer, const std::string& what,
                                 const at::Tensor& value) {
      if (what != "activation") return;
      for (std::int64_t r = 0; r < value.size(0); ++r) record_layer(rows, r, layer, value[r]);
    };
    input.model.forward(input.x, context);
    return rows.finish();
  }
};

TANDEM_REGISTERED = probes().add({.kind = "probe",
                                  .name = "activations",
                                  .summary = "per hidden layer: l0, live_l0, dead_units",
                                  .cite = "",
                                  .file = __FILE__},
                                 [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
                                   return std::make_unique<ActivationsProbe>();
                                 });

}  // namespace
}  // namespace tandem
