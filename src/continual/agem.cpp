// Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv 1812.00420): where the gradient g
// of a step would raise the mean loss on a sample of earlier tasks' examples, whose gradient is
// g_ref, it is projected,
//   g <- g - (g . g_ref / g_ref . g_ref) g_ref   where g . g_ref < 0,
// over all weights of the net together (of w, where a method trains another parametrization of it).
// The memory gets buffer / tasks examples of each task when the task ends, each set of them equally
// likely, and nothing of it is replayed.
#include <algorithm>

#include "config/seeds.h"
#include "continual/replay_buffer.h"
#include "core/philox.h"
#include "data/tensor.h"
#include "topology/segments.h"

namespace tandem {
namespace {

constexpr const char* kMemory = "agem.memory";

class AveragedGem : public Strategy {
 public:
  explicit AveragedGem(StrategyView view)
      : Strategy(std::move(view)), memory_(view_.configs.size()) {}

  StrategyNeeds needs() const override {
    StrategyNeeds::Replay reference{0, false};
    for (const Config& each : view_.configs) {
      reference.rows = std::max(reference.rows, replay_rows(each));
    }
    const auto tasks = static_cast<std::int64_t>(
        view_.sequences.empty() ? 0 : view_.sequences.front().tasks.size());
    return {.replays = {reference}, .roles = true, .looks_back = true, .least_buffer = tasks};
  }

  void batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& /*current*/,
             std::vector<std::vector<BatchRow>>& replays) override {
    const auto i = static_cast<std::size_t>(r);
    const Config& config = view_.configs[i];
    const RandomStream stream{
        sub_key(sub_key(run_key(config, "replay"), 1), static_cast<std::uint64_t>(step))};
    draw_rows(stream, replay_rows(config), memory_[i], replays[0]);
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override {
    for (std::size_t r = 0; r < memory_.size(); ++r) {
      const Config& config = view_.configs[r];
      const auto tasks = static_cast<std::int64_t>(view_.sequences[r].tasks.size());
      for (const std::int64_t example :
           memory_of_task(config, task, config.integer("buffer") / tasks, examples[r])) {
        memory_[r].push_back(example);
      }
    }
  }

  bool wants_reference(std::size_t /*replay*/) const override {
    return std::any_of(memory_.begin(), memory_.end(),
                       [](const auto& held) { return !held.empty(); });
  }

  at::Tensor gradient(StepGradients& gradients) override {
    if (!wants_reference(0)) return {};
    std::vector<at::Tensor> own = gradients.masked();
    const auto [reference, has] = gradients.of_replay(0);
    at::Tensor along, square;
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (!own[p].defined() || !reference[p].defined()) continue;
      const Parameter& parameter = *view_.parameters[p];
      const at::Tensor dot = segment_sums(own[p] * reference[p], parameter);
      const at::Tensor norm = segment_sums(reference[p].square(), parameter);
      along = along.defined() ? along + dot : dot;
      square = square.defined() ? square + norm : norm;
    }
    const at::Tensor projects = has.logical_and(along < 0).logical_and(square > 0);
    const at::Tensor factor =
        torch::where(projects, along / square.clamp_min(1e-300), torch::zeros_like(along));
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (!own[p].defined() || !reference[p].defined()) continue;
      const at::Tensor spread =
          broadcast_to_segments(factor.to(own[p].scalar_type()), view_.parameters[p]->segments());
      own[p] = own[p] - spread * reference[p];
    }
    gradients.replace(own);
    return {};
  }

  std::int64_t examples_held(std::int64_t r) const override {
    return static_cast<std::int64_t>(memory_[static_cast<std::size_t>(r)].size());
  }

  NamedTensors save(std::int64_t r) const override {
    return {{kMemory, integers_tensor(memory_[static_cast<std::size_t>(r)])}};
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    const auto i = static_cast<std::size_t>(r);
    if (name != kMemory || values.numel() > view_.configs[i].integer("buffer")) {
      refuse_state("agem", name, values, "examples that its buffer can hold");
    }
    memory_[i] = integers_in(values);
  }

 private:
  std::vector<std::vector<std::int64_t>> memory_;  // [R]
};

std::unique_ptr<Strategy> make_agem(StrategyView view) {
  return std::make_unique<AveragedGem>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "agem",
     .summary = "A-GEM: gradients are projected where they would raise the loss on "
                "earlier tasks' examples",
     .cite = "1812.00420",
     .uses = {"buffer", "replay_batch"},
     .file = __FILE__},
    make_agem);

}  // namespace
}  // namespace tandem
