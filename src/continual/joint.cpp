// The upper control: all tasks are trained at once, and evaluated one by one.
#include "continual/strategy.h"

namespace tandem {
namespace {

struct Joint : Strategy {
  using Strategy::Strategy;
  StrategyNeeds needs() const override { return {.joins_tasks = true}; }
};

std::unique_ptr<Strategy> make_joint(StrategyView view) {
  return std::make_unique<Joint>(std::move(view));
}

[[maybe_unused]] const bool kJoint =
    strategies().add({.kind = "strategy",
                      .name = "joint",
                      .summary = "all tasks trained at once (upper control)",
                      .cite = "",
                      .file = __FILE__},
                     make_joint);

}  // namespace
}  // namespace tandem
