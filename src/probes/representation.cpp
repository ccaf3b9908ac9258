// This family measures the size and the spread of hidden activations, per hidden layer of H units,
// over the examples (or tokens) of the fixed batch, through the stream that the activations family
// looks through.
//   activation_norm   mean over examples of |h|_2 / sqrt(H)
//   activation_rank   exp of the entropy (nats) of lambda_i / sum lambda, the eigenvalues of the
//                     covariance: how many directions the layer uses (Roy & Vetterli 2007)
//   feature_effective_rank, feature_srank_01, feature_stable_rank   of the singular values
//                     s_1 >= s_2 >= ... of the activations [examples,units] as they are, not
//                     centred: exp of the entropy (nats) of s_i / sum s (Roy & Vetterli 2007);
//                     min {k : s_1 + ... + s_k >= (1 - delta) sum s} with delta = .01 (Kumar et al.
//                     2021); sum s^2 / s_1^2
//   dormant_025, dormant_100   share of units with s_i <= .025 and .1, s_i the mean |h_i| over
//                     examples relative to the mean of that over the layer's units: dormant units
//                     (Sokar et al. 2023), of which those without any activity are a part. Not of
//                     layers that are silent altogether
// Layers where examples and units are both more than 1,024 have no ranks. It measures at the ends
// of tasks as well.
#include <algorithm>
#include <cmath>

#include "data/tensor.h"
#include "probes/recorder.h"
#include "probes/spectrum.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// `units` is double [N,H] for N examples or tokens. The covariance and the Gram matrix of the
// centred examples share their eigenvalues that are not zero.
double covariance_rank(const at::Tensor& units) {
  const at::Tensor centred = units - units.mean(0, /*keepdim=*/true);
  const bool wide = centred.size(1) > centred.size(0);
  const at::Tensor gram = wide ? centred.mm(centred.t()) : centred.t().mm(centred);
  const at::Tensor values = at::linalg_eigvalsh(gram).clamp_min(0).contiguous();
  const auto* begin = values.data_ptr<double>();
  return effective_count({begin, begin + values.numel()});
}

// `size` is the mean |h| of each unit, [H].
void record_dormant(Recorder& rows, std::int64_t r, const std::string& layer,
                    const at::Tensor& size) {
  const at::Tensor score = size / size.mean();
  if (!score.isfinite().all().item<bool>()) return;
  for (const auto& [name, most] : {std::pair{"dormant_025", 0.025}, {"dormant_100", 0.1}}) {
    rows.layer(r, "", layer, name, (score <= most).to(torch::kDouble).mean().item<double>());
  }
}

// `activation` is [...,H], of one replica.
void record_representation(Recorder& rows, std::int64_t r, const std::string& layer,
                           const at::Tensor& activation) {
  const at::Tensor units =
      activation.reshape({-1, activation.size(-1)}).to(torch::kCPU, torch::kDouble);
  rows.layer(r, "", layer, "activation_norm", units.square().mean(1).sqrt().mean().item<double>());
  record_dormant(rows, r, layer, units.abs().mean(0));
  if (std::min(units.size(0), units.size(1)) > kLargestSpectrum) return;
  rows.layer(r, "", layer, "activation_rank", covariance_rank(units));
  const Spectrum features = spectrum_of(units);
  rows.layer(r, "", layer, "feature_effective_rank", features.effective_rank);
  rows.layer(r, "", layer, "feature_srank_01", features.srank_01);
  rows.layer(r, "", layer, "feature_stable_rank", features.stable_rank);
}

class RepresentationProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    Context context = trained_context(input.runs);
    context.observe_tensor = [&](const std::string& layer, const std::string& what,
                                 const at::Tensor& value) {
      if (what != "activation") return;
      for (std::int64_t r = 0; r < value.size(0); ++r) {
        if (input.wants(r)) record_representation(rows, r, layer, value[r]);
      }
    };
    input.model.forward(input.x, context);
    return rows.finish();
  }
};

TANDEM_REGISTERED =
    probes().add({.kind = "probe",
                  .name = "representation",
                  .summary = "not by default; per hidden layer: activation_norm, activation_rank, "
                             "feature_effective_rank, feature_srank_01, feature_stable_rank, "
                             "dormant_025, dormant_100",
                  .cite = "Roy & Vetterli 2007",
                  .file = __FILE__},
                 [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
                   return std::make_unique<RepresentationProbe>();
                 });

}  // namespace
}  // namespace tandem
