// Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282): on the current examples the
// outputs are pulled to those of the net as the last task left it, by cross-entropy between the two
// distributions at temperature T (no factor T^2),
//   L = CE + lambda sum over earlier heads of mean_b -sum_c p_c log q_c,
//   p = softmax(z_old / T), q = softmax(z / T).
// As in van de Ven et al. (arXiv 1904.07734): where tasks have outputs of their own (task-IL) each
// earlier task's are a head; else all outputs are one, in domain-IL counted once for each earlier
// task. Where outputs are trained from the task on that has them, p is of those that the last task
// left trained, and q of all that are trained now. With replay_share = tasks it is, in the n-th
// task,
//   L = CE / n + lambda (1 - 1/n) times the mean over earlier heads,
// as van de Ven and Tolias (arXiv 1809.10635) have it, with T^2 for lambda. Their first code takes
// the mean over outputs c in the place of the sum, so that a head counts the less the more outputs
// it has (distill_over = mean).
#include "continual/strategy.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class WithoutForgetting : public Strategy {
 public:
  explicit WithoutForgetting(StrategyView view)
      : Strategy(std::move(view)),
        lambda_(per_replica(view_, [](const Config& each) { return each.real("stability"); })),
        temperature_(per_replica(
            view_, [](const Config& each) { return each.real("distill_temperature"); })),
        by_tasks_(view_.configs.front().text("replay_share") == "tasks"),
        over_mean_(view_.configs.front().text("distill_over") == "mean") {}

  StrategyNeeds needs() const override {
    return {.roles = true, .snapshots = 1, .passed_rows = 1, .looks_back = true};
  }

  void before_task(std::int64_t task, bool /*resumed*/) override {
    task_ = task;
    if (by_tasks_) current_ = torch::full_like(lambda_, 1 / static_cast<double>(task)).unsqueeze(1);
  }

  at::Tensor role_weights(const StepView& /*view*/) const override { return current_; }

  void after_task(std::int64_t /*task*/,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    view_.services->take_snapshot(0);
  }

  void remember(const StepView& /*view*/) override {
    seen_.reset();
    old_.reset();
  }

  at::Tensor loss(const StepView& view) override {
    if (task_ == 1) return {};
    const TaskSequence& sequence = view_.sequences.front();
    if (!seen_.is_same(view.x)) {  // passes of one step have the same batch
      seen_ = view.x;
      old_ = view_.services->snapshot_logits(0, view.x);
    }
    const at::Tensor& old = old_;
    at::Tensor sum;
    // Heads are the same columns in every run of a group.
    if (sequence.trained == OutputsOf::kTask) {
      for (std::int64_t t = 0; t + 1 < task_; ++t) {
        const auto [first, last] = sequence.task_outputs[static_cast<std::size_t>(t)];
        const at::Tensor term = pull(view, old, {first, last}, {first, last});
        sum = sum.defined() ? sum + term : term;
      }
      if (by_tasks_) sum = sum / static_cast<double>(task_ - 1);
    } else if (sequence.trained == OutputsOf::kSeen) {
      const auto end_of = [&sequence](std::int64_t task) {
        return sequence.task_outputs[static_cast<std::size_t>(task - 1)].second;
      };
      sum = pull(view, old, {0, end_of(task_ - 1)}, {0, end_of(task_)});
    } else {
      sum = pull(view, old, {0, old.size(-1)}, {0, old.size(-1)});
      if (sequence.shares_outputs() && !by_tasks_) sum = sum * static_cast<double>(task_ - 1);
    }
    if (by_tasks_) sum = sum * (1 - 1 / static_cast<double>(task_));
    return lambda_ * sum;
  }

 private:
  using Range = std::pair<std::int64_t, std::int64_t>;  // first and one past the last

  // [R], p over some outputs and q over as many or more that begin with these.
  at::Tensor pull(const StepView& view, const at::Tensor& old, Range of_p, Range of_q) const {
    const at::Tensor temperature = temperature_.view({-1, 1, 1});
    const auto part = [&temperature](const at::Tensor& logits, Range range) {
      return logits.narrow(-1, range.first, range.second - range.first) / temperature;
    };
    const at::Tensor p = torch::softmax(part(old, of_p), -1);
    const at::Tensor q = torch::log_softmax(part(view.logits, of_q), -1);
    const at::Tensor entropy = (p * q.narrow(-1, 0, p.size(-1))).sum(-1).neg();
    const double outputs = over_mean_ ? static_cast<double>(q.size(-1)) : 1;
    return (entropy / outputs * view.mean).sum(1);
  }

  at::Tensor lambda_, temperature_;  // [R]
  bool by_tasks_, over_mean_;
  at::Tensor current_;  // [R,1], what the cross-entropy counts
  std::int64_t task_ = 1;
  at::Tensor seen_, old_;  // within a step
};

std::unique_ptr<Strategy> make_lwf(StrategyView view) {
  return std::make_unique<WithoutForgetting>(std::move(view));
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "lwf",
                      .summary = "learning without forgetting: outputs are pulled to those of the "
                                 "net that the last task left",
                      .cite = "1606.09282",
                      .defaults = {{"stability", "1"}},
                      .uses = {"stability", "distill_temperature", "distill_over", "replay_share"},
                      .file = __FILE__},
                     make_lwf);

}  // namespace
}  // namespace tandem
