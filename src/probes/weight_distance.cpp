// This family measures how far the weights have gone from where training began.
//   weight_distance   |theta - theta_0|_2, theta_0 at the run's first step, of all weights, biases
//                     and norms; per linear layer of its weights and biases
// Theta is what the stream that the method trains computes with: all weights where it trains the
// full stream, else those of the mask, the others being zero. A connection that moves hence counts
// with the weight that left and the one that came. Theta is what training goes on from, also where
// a strategy reads other values or begins tasks afresh. What is kept of a run is a dense copy of
// its first net; a resumed run makes it again. It measures at the ends of tasks as well.
#include <cmath>
#include <map>

#include "data/tensor.h"
#include "probes/read_net.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

class WeightDistanceProbe : public Probe {
 public:
  explicit WeightDistanceProbe(const std::vector<ReadoutRun>& runs) : runs_(runs) {}

  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }
  bool reads_dense_weights() const override { return true; }

  void begin(Model& model) override {
    at::NoGradGuard no_grad;
    const DenseCopies copies(model);
    for (const at::Tensor& value : trained_values(model, runs_)) {
      start_.push_back(value.to(torch::kCPU, value.scalar_type(), /*non_blocking=*/false,
                                /*copy=*/true));
    }
  }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    const std::vector<Parameter*> parameters = input.model.parameters();
    const std::vector<at::Tensor> now = trained_values(input.model, input.runs);
    for (std::int64_t r = 0; r < replicas; ++r) {
      if (!input.wants(r)) continue;
      std::map<const Parameter*, double> squares;
      double sum = 0;
      for (std::size_t p = 0; p < parameters.size(); ++p) {
        const at::Tensor own = now[p][r].to(torch::kCPU, torch::kDouble);
        const double square = (own - start_[p][r]).square().sum().item<double>();
        squares[parameters[p]] = square;
        sum += square;
      }
      for (const Linear* layer : input.model.linears()) {
        double own = squares.at(&layer->weight);
        if (layer->has_bias()) own += squares.at(&layer->bias);
        rows.layer(r, kWeightsLevel, layer->name(), "weight_distance", std::sqrt(own),
                   WholeNetRow::kNone);
      }
      rows.whole(r, kWeightsLevel, "weight_distance", std::sqrt(sum));
    }
    return rows.finish();
  }

 private:
  std::vector<ReadoutRun> runs_;   // for what stream they train
  std::vector<at::Tensor> start_;  // beside Model::parameters(), [R,...] on the CPU
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "weight_distance",
     .summary = "not by default; how far weights are from where training began, per layer and of "
                "the whole net: weight_distance",
     .cite = "",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<WeightDistanceProbe>(runs);
    });

}  // namespace
}  // namespace tandem
