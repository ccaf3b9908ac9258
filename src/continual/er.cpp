// Experience replay (Chaudhry et al., arXiv 1902.10486) from a buffer: the loss is one mean over
// current and replayed rows.
#include "continual/replay_buffer.h"

namespace tandem {
namespace {

struct ExperienceReplay : BufferReplay {
  using BufferReplay::BufferReplay;
  StrategyNeeds needs() const override {
    return {.replays = replays(1), .least_buffer = least_buffer()};
  }
};

std::unique_ptr<Strategy> make_er(StrategyView view) {
  return std::make_unique<ExperienceReplay>(std::move(view));
}

[[maybe_unused]] const bool kEr =
    strategies().add({.kind = "strategy",
                      .name = "er",
                      .summary = "experience replay from a buffer of examples",
                      .cite = "1902.10486",
                      .uses = {"buffer", "buffer_rule", "replay_batch"},
                      .file = __FILE__},
                     make_er);

}  // namespace
}  // namespace tandem
