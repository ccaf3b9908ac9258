// Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796): lambda / 2 sum F (w -
// w*)^2 with the diagonal Fisher information F of each task at the weights w* that it ended with,
//   ewc            one term for each earlier task (the sum of quadratic terms is kept as one)
//   ewc_empirical  the same with the gradients of the examples' own labels, which many codes have
//   ewc_online     F <- gamma F + F_task and one centre, the last task's weights (Schwarz et al.
//                  2018, arXiv 1805.06370)
// F is the mean over examples of its expectation over the labels of the model's distribution; some
// codes square the gradient of a mean over a batch instead, which is another quantity.
#include "continual/pull.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class ElasticWeights : public QuadraticPull {
 public:
  ElasticWeights(StrategyView view, Importance kind, bool online)
      : QuadraticPull(std::move(view), 0.5), kind_(kind), online_(online) {
    if (online_) {
      keep_ = per_replica(view_, [](const Config& each) { return each.real("fisher_decay"); });
    }
  }

  StrategyNeeds needs() const override {
    StrategyNeeds needs = QuadraticPull::needs();
    needs.exact_fisher = kind_ == Importance::kFisher;
    return needs;
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override {
    if (is_last(task)) return;
    const auto fisher =
        view_.services->importances(examples_of_importance(view_, task, examples), kind_);
    online_ ? follow(fisher, keep_) : join(fisher);
  }

 private:
  Importance kind_;
  bool online_;
  at::Tensor keep_;  // [R]
};

std::unique_ptr<Strategy> make_ewc(StrategyView view) {
  return std::make_unique<ElasticWeights>(std::move(view), Importance::kFisher, false);
}

std::unique_ptr<Strategy> make_ewc_empirical(StrategyView view) {
  return std::make_unique<ElasticWeights>(std::move(view), Importance::kEmpiricalFisher, false);
}

std::unique_ptr<Strategy> make_ewc_online(StrategyView view) {
  return std::make_unique<ElasticWeights>(std::move(view), Importance::kFisher, true);
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "ewc",
                      .summary = "elastic weight consolidation: pulled to each task's weights by "
                                 "their Fisher information",
                      .cite = "1612.00796",
                      .defaults = {{"stability", "100"}},
                      .uses = {"stability", "fisher_examples"},
                      .file = __FILE__},
                     make_ewc);

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "ewc_empirical",
                      .summary = "EWC with the empirical Fisher information (of the labels)",
                      .cite = "1612.00796",
                      .defaults = {{"stability", "100"}},
                      .uses = {"stability", "fisher_examples"},
                      .file = __FILE__},
                     make_ewc_empirical);

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "ewc_online",
                      .summary = "online EWC: one running Fisher information, centred at the last "
                                 "task's weights",
                      .cite = "1805.06370",
                      .defaults = {{"stability", "100"}},
                      .uses = {"stability", "fisher_examples", "fisher_decay"},
                      .file = __FILE__},
                     make_ewc_online);

}  // namespace
}  // namespace tandem
