// Memory aware synapses (Aljundi et al. 2018, arXiv 1711.09601): importance is the mean over
// examples of |d |f(x)|^2 / dw|, summed over tasks, and lambda sum Omega (w - w*)^2 is added, w*
// the weights that the last task ended with.
#include "continual/pull.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class AwareSynapses : public QuadraticPull {
 public:
  explicit AwareSynapses(StrategyView view)
      : QuadraticPull(std::move(view), 1),
        keep_(per_replica(view_, [](const Config&) { return 1.0; })) {}

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override {
    if (is_last(task)) return;
    follow(view_.services->importances(examples_of_importance(view_, task, examples),
                                       Importance::kOutputNorm),
           keep_);
  }

 private:
  at::Tensor keep_;  // [R]
};

std::unique_ptr<Strategy> make_mas(StrategyView view) {
  return std::make_unique<AwareSynapses>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "mas",
     .summary = "memory aware synapses: pulled to the last weights by how much the "
                "outputs depend on each",
     .cite = "1711.09601",
     .defaults = {{"stability", "1"}},
     .uses = {"stability", "fisher_examples"},
     .file = __FILE__},
    make_mas);

}  // namespace
}  // namespace tandem
