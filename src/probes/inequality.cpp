// This family measures how unequal the weights of a layer are, over its n active weights; names
// that end in _all are over all positions, where dormant weights carry values.
//   effective_fan_in   exp of the entropy (nats) of |w| / sum |w| over what enters a unit: as many
//                      equal weights would say as much; mean over the units with any
//   participation      (sum |w|)^2 / (n sum w^2), from 1/n to 1 where all are equal
//   hoyer              (sqrt n - L1/L2) / (sqrt n - 1), 0 where all are equal, 1 where one is left
//                      (Hoyer 2004)
//   gini               sum_i (2i - n - 1) |w|_(i) / (n sum |w|), ascending from i = 1: 0 where all
//                      are equal, 1 - 1/n where one is left
// Active is what the run's sparse net has. For the whole net all are means over layers.
#include <cmath>

#include "data/tensor.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// `mass` is |w|, double [in,out], and zero where it does not count.
double effective_fan_in(const at::Tensor& mass) {
  const at::Tensor total = mass.sum(0);
  const at::Tensor p = mass / total;
  const at::Tensor each = torch::xlogy(p, p).sum(0).neg().exp();
  return each.masked_select(total > 0).mean().item<double>();
}

// `mass` is [n].
double gini(const at::Tensor& mass) {
  const auto n = static_cast<double>(mass.numel());
  const at::Tensor ascending = std::get<0>(mass.sort()).to(torch::kDouble);
  const at::Tensor rank = torch::arange(1, mass.numel() + 1, ascending.options());
  return ((2 * rank - n - 1) * ascending).sum().item<double>() /
         (n * ascending.sum().item<double>());
}

// `own` is |w| [n] of the weights that count, and `by_unit` the same as double [in,out] with zeros
// elsewhere.
void record(Recorder& rows, std::int64_t r, const std::string& layer, const std::string& suffix,
            const at::Tensor& own, const at::Tensor& by_unit) {
  const auto n = static_cast<double>(own.numel());
  const double mass = by_unit.sum().item<double>(), energy = by_unit.square().sum().item<double>();
  const auto row = [&](const char* name, double value) {
    rows.layer(r, kWeightsLevel, layer, name + suffix, value);
  };
  row("effective_fan_in", effective_fan_in(by_unit));
  row("participation", mass * mass / (n * energy));
  row("hoyer", (std::sqrt(n) - mass / std::sqrt(energy)) / (std::sqrt(n) - 1));
  row("gini", gini(own));
}

class InequalityProbe : public Probe {
 public:
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const std::vector<Linear*> linears = input.model.linears();
    const LayerMasks masks = trained_masks(input.model, input.runs, input.ranking);
    const bool carry = dormant_carry_values(input.runs);
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (!masks[l].defined()) continue;
      const at::Tensor all = linears[l]->weight.value.detach().abs();  // [R,in,out]
      for (std::int64_t r = 0; r < all.size(0); ++r) {
        const at::Tensor mass = all[r].to(torch::kDouble);
        const at::Tensor active = masks[l][r].view_as(mass).ne(0);
        const std::string& name = linears[l]->name();
        record(rows, r, name, "", all[r].masked_select(active),
               mass.masked_fill(active.logical_not(), 0));
        if (carry) record(rows, r, name, "_all", all[r].reshape({-1}), mass);
      }
    }
    return rows.finish();
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "inequality",
     .summary = "per layer, over active weights (..._all: over all, where dormant ones carry "
                "values): effective_fan_in, participation, hoyer, gini",
     .cite = "Hoyer 2004",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<InequalityProbe>();
    });

}  // namespace
}  // namespace tandem
