// Maximally interfered retrieval (Aljundi et al., NeurIPS 2019, arXiv 1908.04742): of
// `mir_candidates` examples drawn from a buffer a step replays the replay_batch whose loss would
// rise most by a plain gradient step on the current examples alone,
//   l(w - lr dL_current/dw; x, y) - l(w; x, y),
// and the loss is one mean over current and chosen rows. They are chosen on the device; of equal
// ones the first drawn.
#include "continual/replay_buffer.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class MostInterfered : public BufferReplay {
 public:
  explicit MostInterfered(StrategyView view) : BufferReplay(std::move(view)) {
    for (const Config& each : view_.configs) candidates_.push_back(each.integer("mir_candidates"));
  }

  StrategyNeeds needs() const override {
    const std::int64_t most = *std::max_element(candidates_.begin(), candidates_.end());
    StrategyNeeds needs{.replays = replays(1),
                        .roles = true,
                        .looks_back = fills_at_ends(),
                        .least_buffer = least_buffer()};
    needs.replays[0].chosen = true;
    needs.replays.push_back({std::max(most, needs.replays[0].rows), false});
    return needs;
  }

  // The candidates, and as many rows as are chosen of them, for the time being the first.
  void batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& current,
             std::vector<std::vector<BatchRow>>& replays) override {
    const auto i = static_cast<std::size_t>(r);
    const std::int64_t rows = replay_rows(view_.configs[i]);
    buffer(r).replay(step, 0, std::max(rows, candidates_[i]), replays[1]);
    const auto chosen = std::min<std::size_t>(replays[1].size(), static_cast<std::size_t>(rows));
    replays[0].assign(replays[1].begin(), replays[1].begin() + static_cast<std::ptrdiff_t>(chosen));
    keep(r, current);
  }

  at::Tensor role_weights(const StepView& view) const override { return one_mean(view); }

  at::Tensor choose(const StepChoice& step) override {
    return step.losses_after_step() - step.losses();
  }

 private:
  std::vector<std::int64_t> candidates_;  // [R]
};

std::unique_ptr<Strategy> make_mir(StrategyView view) {
  return std::make_unique<MostInterfered>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "mir",
     .summary = "maximally interfered retrieval: replays what a step on the current "
                "examples would harm most",
     .cite = "1908.04742",
     .defaults = {{"replay_batch", "10"}},
     .uses = {"buffer", "buffer_rule", "replay_batch", "mir_candidates"},
     .file = __FILE__},
    make_mir);

}  // namespace
}  // namespace tandem
