#include "continual/pull.h"

#include <algorithm>

#include "config/seeds.h"
#include "continual/replay_buffer.h"
#include "core/philox.h"
#include "data/tensor.h"
#include "topology/segments.h"

namespace tandem {

std::vector<std::vector<std::int64_t>> examples_of_importance(
    const StrategyView& view, std::int64_t task,
    const std::vector<std::vector<std::int64_t>>& examples) {
  std::vector<std::vector<std::int64_t>> chosen;
  for (std::size_t r = 0; r < examples.size(); ++r) {
    const std::int64_t wanted = view.configs[r].integer("fisher_examples");
    const auto there = static_cast<std::int64_t>(examples[r].size());
    if (wanted == 0 || wanted >= there) {
      chosen.push_back(examples[r]);
      continue;
    }
    const RandomStream stream{
        sub_key(sub_key(run_key(view.configs[r], "replay"), 3), static_cast<std::uint64_t>(task))};
    chosen.emplace_back();
    for (const std::int64_t place : draw_places(stream, wanted, there)) {
      chosen.back().push_back(examples[r][static_cast<std::size_t>(place)]);
    }
  }
  return chosen;
}

QuadraticPull::QuadraticPull(StrategyView view, double factor)
    : Strategy(std::move(view)),
      name_(view_.configs.front().text("strategy")),
      factor_(per_replica(
          view_, [factor](const Config& each) { return factor * each.real("stability"); })),
      constant_(torch::zeros_like(factor_, torch::kFloat64)) {}

at::Tensor QuadraticPull::slot(Parameter& parameter, const char* what) const {
  const std::string slot_name = name_ + "." + what;
  const at::Tensor values = parameter.slot(slot_name);
  parameter.slots.at(slot_name).lasting = true;
  return values;
}

at::Tensor QuadraticPull::gradient(StepGradients& gradients) {
  at::Tensor loss = constant_;
  const at::Tensor twice = 2 * factor_;
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    loss = loss +
           gradients.add_pull(p, slot(parameter, "center"), slot(parameter, "importance"), twice);
  }
  return loss * factor_;
}

// A(w-a)^2 + B(w-b)^2 = (A+B)(w-c)^2 + AB/(A+B) (a-b)^2 with c = (Aa + Bb)/(A+B).
void QuadraticPull::join(const std::vector<at::Tensor>& importance) {
  const at::NoGradGuard no_grad;
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    const at::Tensor old = slot(parameter, "importance"), center = slot(parameter, "center");
    const at::Tensor sum = old + importance[p];
    const at::Tensor share = torch::where(sum > 0, importance[p] / sum, torch::ones_like(sum));
    const at::Tensor away = parameter.flat() - center;
    constant_.add_(segment_sums(old * share * away.square(), parameter));
    center.add_(share * away);
    old.copy_(sum);
  }
}

void QuadraticPull::follow(const std::vector<at::Tensor>& importance, const at::Tensor& keep) {
  const at::NoGradGuard no_grad;
  for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
    Parameter& parameter = *view_.parameters[p];
    const at::Tensor old = slot(parameter, "importance");
    old.mul_(broadcast_to_segments(keep, parameter.segments())).add_(importance[p]);
    slot(parameter, "center").copy_(parameter.flat());
  }
}

NamedTensors QuadraticPull::save(std::int64_t r) const {
  return {{name_ + ".constant", constant_[r].to(torch::kCPU).clone()}};
}

void QuadraticPull::load(std::int64_t r, const std::string& name, const at::Tensor& values) {
  if (name != name_ + ".constant" || values.numel() != 1) {
    refuse_state(name_, name, values, "its constant");
  }
  constant_[r].copy_(values);
}

}  // namespace tandem
