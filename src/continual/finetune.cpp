// The lower control: each task is trained as it comes and nothing fights forgetting.
#include "continual/strategy.h"

namespace tandem {
namespace {

std::unique_ptr<Strategy> make_finetune(StrategyView view) {
  return std::make_unique<Strategy>(std::move(view));
}

[[maybe_unused]] const bool kFinetune = strategies().add(
    {.kind = "strategy",
     .name = "finetune",
     .summary = "tasks one after the other, nothing against forgetting (lower control)",
     .cite = "",
     .file = __FILE__},
    make_finetune);

}  // namespace
}  // namespace tandem
