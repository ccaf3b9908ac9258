// Synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200): along a task's path a weight earns
// omega = sum of -g dw, g the gradient of the task loss before it is clipped and dw what the step
// moved it by, and at the task's end its importance grows by omega / (D^2 + xi), D what the task
// moved it by in all; what is below zero counts as zero, as in the authors' code. c sum Omega (w -
// w*)^2 is added, w* the weights that the last task ended with. (van de Ven's code takes g of the
// whole loss, this term included.) A weight that grew within the task counts its way from zero.
#include "continual/pull.h"
#include "data/tensor.h"
#include "topology/segments.h"

namespace tandem {
namespace {

class SynapticIntelligence : public QuadraticPull {
 public:
  explicit SynapticIntelligence(StrategyView view)
      : QuadraticPull(std::move(view), 1),
        keep_(per_replica(view_, [](const Config&) { return 1.0; })),
        damping_(per_replica(view_, [](const Config& each) { return each.real("si_damping"); })) {}

  void before_task(std::int64_t /*task*/, bool resumed) override {
    const at::NoGradGuard no_grad;
    for (Parameter* parameter : view_.parameters) {
      const at::Tensor start = slot(*parameter, "start"), path = slot(*parameter, "path");
      if (resumed) continue;
      start.copy_(parameter->flat());
      path.zero_();
    }
  }

  at::Tensor gradient(StepGradients& gradients) override {
    const std::vector<at::Tensor> own = gradients.masked();  // before this term joins them
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (own[p].defined()) gradients.follow(p, own[p], slot(*view_.parameters[p], "path"));
    }
    return QuadraticPull::gradient(gradients);
  }

  void after_task(std::int64_t /*task*/,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> earned;
    for (Parameter* parameter : view_.parameters) {
      const at::Tensor moved = parameter->flat() - slot(*parameter, "start");
      const at::Tensor damping = broadcast_to_segments(damping_, parameter->segments());
      earned.push_back((slot(*parameter, "path") / (moved.square() + damping)).clamp_min(0));
    }
    follow(earned, keep_);
  }

 private:
  at::Tensor keep_, damping_;  // [R]
};

std::unique_ptr<Strategy> make_si(StrategyView view) {
  return std::make_unique<SynapticIntelligence>(std::move(view));
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "si",
                      .summary = "synaptic intelligence: pulled to the last weights by what each "
                                 "earned along the path",
                      .cite = "1703.04200",
                      .defaults = {{"stability", "0.1"}},
                      .uses = {"stability", "si_damping"},
                      .file = __FILE__},
                     make_si);

}  // namespace
}  // namespace tandem
