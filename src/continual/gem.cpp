// Gradient episodic memory (Lopez-Paz and Ranzato 2017, arXiv 1706.08840): a gradient that would
// raise the loss on the memory of any earlier task is projected onto the cone of those that raise
// none (kernels/cone), with a margin that keeps it inside (`gem_margin`, the paper's gamma). The
// memory gets buffer / tasks examples of each task when the task ends, all of which are read at
// every later step; nothing of it is replayed.
#include <algorithm>

#include "config/seeds.h"
#include "continual/replay_buffer.h"
#include "core/philox.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/cone/cone_cuda.h"
#include "topology/segments.h"

namespace tandem {
namespace {

class EpisodicMemory : public Strategy {
 public:
  explicit EpisodicMemory(StrategyView view)
      : Strategy(std::move(view)), memories_(view_.configs.size()) {
    margin_ = per_replica(view_, [](const Config& each) {
                return each.real("gem_margin");
              }).to(torch::kFloat64);
  }

  // A role for each task but the last, with room for the largest memory of the group.
  StrategyNeeds needs() const override {
    const auto tasks = static_cast<std::int64_t>(
        view_.sequences.empty() ? 0 : view_.sequences.front().tasks.size());
    std::int64_t rows = 0;
    for (const Config& each : view_.configs) {
      if (tasks > 0) rows = std::max(rows, each.integer("buffer") / tasks);
    }
    const auto earlier = static_cast<std::size_t>(std::max<std::int64_t>(0, tasks - 1));
    return {.replays = std::vector<StrategyNeeds::Replay>(earlier, {rows, false}),
            .roles = true,
            .looks_back = true,
            .least_buffer = tasks};
  }

  void batch(std::int64_t r, std::int64_t /*step*/, std::vector<BatchRow>& /*current*/,
             std::vector<std::vector<BatchRow>>& replays) override {
    const auto& own = memories_[static_cast<std::size_t>(r)];
    for (std::size_t t = 0; t < replays.size() && t < own.size(); ++t) {
      for (const std::int64_t example : own[t]) replays[t].push_back({example});
    }
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override {
    for (std::size_t r = 0; r < memories_.size(); ++r) {
      const Config& config = view_.configs[r];
      const auto tasks = static_cast<std::int64_t>(view_.sequences[r].tasks.size());
      memories_[r].push_back(
          memory_of_task(config, task, config.integer("buffer") / tasks, examples[r]));
    }
  }

  bool wants_reference(std::size_t replay) const override {
    return std::any_of(memories_.begin(), memories_.end(), [replay](const auto& own) {
      return replay < own.size() && !own[replay].empty();
    });
  }

  at::Tensor gradient(StepGradients& gradients) override {
    std::vector<std::pair<std::vector<at::Tensor>, at::Tensor>> references;
    for (std::size_t t = 0; wants_reference(t); ++t) references.push_back(gradients.of_replay(t));
    const auto n = static_cast<std::int64_t>(references.size());
    if (n == 0) return {};
    std::vector<at::Tensor> own = gradients.masked();
    const auto product = [this](const std::vector<at::Tensor>& a,
                                const std::vector<at::Tensor>& b) {
      at::Tensor sum = torch::zeros({view_.replicas}, view_.options.dtype(torch::kFloat64));
      for (std::size_t p = 0; p < a.size(); ++p) {
        if (a[p].defined() && b[p].defined()) {
          sum = sum + segment_sums(a[p] * b[p], *view_.parameters[p]);
        }
      }
      return sum;
    };
    std::vector<at::Tensor> rows, along, part;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto& [reference, has] = references[static_cast<std::size_t>(i)];
      along.push_back(product(own, reference));
      part.push_back(has.to(torch::kFloat64));
    }
    std::vector<std::vector<at::Tensor>> gram(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < gram.size(); ++i) {
      for (std::size_t j = 0; j < gram.size(); ++j) {
        gram[i].push_back(j < i ? gram[j][i] : product(references[i].first, references[j].first));
      }
      rows.push_back(torch::stack(gram[i], 1));
    }
    const at::Tensor v =
        project(torch::stack(rows, 1), torch::stack(along, 1), torch::stack(part, 1));
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (!own[p].defined()) continue;
      for (std::int64_t i = 0; i < n; ++i) {
        const at::Tensor& reference = references[static_cast<std::size_t>(i)].first[p];
        if (!reference.defined()) continue;
        const at::Tensor share = broadcast_to_segments(
            v.select(1, i).to(own[p].scalar_type()).contiguous(), view_.parameters[p]->segments());
        own[p] = own[p] + share * reference;
      }
    }
    gradients.replace(own);
    return {};
  }

  std::int64_t examples_held(std::int64_t r) const override {
    std::int64_t held = 0;
    for (const auto& own : memories_[static_cast<std::size_t>(r)]) {
      held += static_cast<std::int64_t>(own.size());
    }
    return held;
  }

  NamedTensors save(std::int64_t r) const override {
    NamedTensors all;
    for (const auto& own : memories_[static_cast<std::size_t>(r)]) {
      all.emplace_back(memory_name(all.size()), integers_tensor(own));
    }
    return all;
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    const auto i = static_cast<std::size_t>(r);
    const std::size_t tasks = view_.sequences[i].tasks.size();
    for (std::size_t t = 0; t < tasks; ++t) {
      if (name != memory_name(t)) continue;
      if (values.numel() > view_.configs[i].integer("buffer") / static_cast<std::int64_t>(tasks))
        break;
      if (memories_[i].size() <= t) memories_[i].resize(t + 1);
      memories_[i][t] = integers_in(values);
      return;
    }
    refuse_state("gem", name, values, "examples of a task that its buffer can hold");
  }

 private:
  static std::string memory_name(std::size_t task) {
    return "gem.memory" + std::to_string(task + 1);
  }

  at::Tensor project(const at::Tensor& gram, const at::Tensor& along,
                     const at::Tensor& part) const {
    const at::Tensor v = torch::empty_like(along);
    const at::Tensor rows = gram.contiguous(), products = along.contiguous(),
                     parts = part.contiguous();
    const kernels::ConeProblem problem{.gram = rows.data_ptr<double>(),
                                       .along = products.data_ptr<double>(),
                                       .part = parts.data_ptr<double>(),
                                       .margin = margin_.data_ptr<double>(),
                                       .replicas = view_.replicas,
                                       .n = along.size(1)};
    if (v.is_cuda()) {
      launch_cuda<decltype(kernels::project_onto_cone_cuda)>("project_onto_cone", problem,
                                                             v.data_ptr<double>());
    } else {
      kernels::project_onto_cone(problem, v.data_ptr<double>());
    }
    return v;
  }

  at::Tensor margin_;                                             // double [R]
  std::vector<std::vector<std::vector<std::int64_t>>> memories_;  // [R][tasks that have ended]
};

std::unique_ptr<Strategy> make_gem(StrategyView view) {
  return std::make_unique<EpisodicMemory>(std::move(view));
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "gem",
                      .summary = "GEM: gradients are projected so that they raise the loss on no "
                                 "earlier task's memory",
                      .cite = "1706.08840",
                      .uses = {"buffer", "gem_margin"},
                      .file = __FILE__},
                     make_gem);

}  // namespace
}  // namespace tandem
