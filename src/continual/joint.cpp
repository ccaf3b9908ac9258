// The upper controls: joint trains on all tasks at once, which are evaluated one by one; cumulative
// trains on each task together with all before it, from where the last one ended.
#include "continual/strategy.h"

namespace tandem {
namespace {

template <StageData kStage>
struct Together : Strategy {
  using Strategy::Strategy;
  StrategyNeeds needs() const override { return {.stage = kStage}; }
};

std::unique_ptr<Strategy> make_joint(StrategyView view) {
  return std::make_unique<Together<StageData::kAllTasks>>(std::move(view));
}

std::unique_ptr<Strategy> make_cumulative(StrategyView view) {
  return std::make_unique<Together<StageData::kSoFar>>(std::move(view));
}

TANDEM_REGISTERED = strategies().add({.kind = "strategy",
                                      .name = "joint",
                                      .summary = "all tasks trained at once (upper control)",
                                      .cite = "",
                                      .file = __FILE__},
                                     make_joint);

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "cumulative",
                      .summary = "each task trained together with all before it (upper control)",
                      .cite = "",
                      .file = __FILE__},
                     make_cumulative);

}  // namespace
}  // namespace tandem
