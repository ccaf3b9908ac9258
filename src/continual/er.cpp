// Experience replay (Chaudhry et al., arXiv 1902.10486) from a buffer: the loss is one mean over
// current and replayed rows, or, as van de Ven et al. (Nature Machine Intelligence 2022) weigh them
// in the n-th task, 1/n of the mean over current rows and 1 - 1/n of that over replayed ones.
#include "continual/replay_buffer.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class ExperienceReplay : public BufferReplay {
 public:
  explicit ExperienceReplay(StrategyView view)
      : BufferReplay(std::move(view)),
        by_tasks_(view_.configs.front().text("replay_share") == "tasks") {}

  StrategyNeeds needs() const override {
    return {.replays = replays(1),
            .roles = by_tasks_,
            .looks_back = fills_at_ends(),
            .least_buffer = least_buffer()};
  }

  void before_task(std::int64_t task, bool /*resumed*/) override {
    if (!by_tasks_) return;
    const double current = 1 / static_cast<double>(task);
    const at::Tensor weights =
        torch::tensor({current, 1 - current}, torch::kFloat64).to(view_.options);
    weights_ = weights.expand({view_.replicas, 2}).contiguous();
  }

  at::Tensor role_weights(const StepView& /*view*/) const override { return weights_; }

 private:
  bool by_tasks_;
  at::Tensor weights_;  // [R,2]
};

std::unique_ptr<Strategy> make_er(StrategyView view) {
  return std::make_unique<ExperienceReplay>(std::move(view));
}

[[maybe_unused]] const bool kEr =
    strategies().add({.kind = "strategy",
                      .name = "er",
                      .summary = "experience replay from a buffer of examples",
                      .cite = "1902.10486",
                      .uses = {"buffer", "buffer_rule", "replay_batch", "replay_share"},
                      .file = __FILE__},
                     make_er);

}  // namespace
}  // namespace tandem
