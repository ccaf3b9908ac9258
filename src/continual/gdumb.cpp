// GDumb (Prabhu, Torr and Dokania, ECCV 2020): a memory that is as balanced over the classes seen
// as a greedy choice makes it, and at each task's end a network that is trained on it from scratch.
// What a strategy that trains all along does not beat it learned from its memory alone. The sampler
// (Algorithm 1 there) is balanced_memory() of plan/stages.h.
#include "config/strategy_start.h"
#include "continual/strategy.h"

namespace tandem {
namespace {

struct GreedyMemory : Strategy {
  using Strategy::Strategy;
  StrategyNeeds needs() const override {
    return {.stage = StageData::kMemory, .fresh_start = true, .least_buffer = 1};
  }
};

std::unique_ptr<Strategy> make_gdumb(StrategyView view) {
  return std::make_unique<GreedyMemory>(std::move(view));
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "gdumb",
                      .summary = "trained from scratch on a balanced memory, at each task's end",
                      .cite = "Prabhu et al., ECCV 2020",
                      .uses = {"buffer"},
                      .file = __FILE__},
                     make_gdumb);
TANDEM_REGISTERED = declare_begins_afresh("gdumb");

}  // namespace
}  // namespace tandem
