#include "policy/policy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tandem {

std::string level_name(Level level) { return level == Level::kAttention ? "attention" : "weights"; }

double drop_fraction_at(const TopologyRule& rule, double progress) {
  const double t = std::clamp(progress, 0.0, 1.0);
  const double span = rule.drop_fraction - rule.drop_final;
  switch (rule.drop_schedule) {
    case TopologyRule::DropSchedule::kConstant:
      return rule.drop_fraction;
    case TopologyRule::DropSchedule::kLinear:
      return rule.drop_final + span * (1 - t);
    case TopologyRule::DropSchedule::kCosine:
      return rule.drop_final + span / 2 * (1 + std::cos(std::numbers::pi * t));
    case TopologyRule::DropSchedule::kSteps:
      return t >= 1 ? rule.drop_final : rule.drop_fraction - (t < 0.75 ? 0 : span / 2);
  }
  return rule.drop_fraction;
}

double density_at(const TopologyRule& rule, const Start& start, double progress) {
  if (rule.budget_schedule == TopologyRule::BudgetSchedule::kConstant) return start.density;
  const double first = start.pattern == Start::Pattern::kDense ? 1.0 : start.first_density();
  const double span = rule.budget_end - rule.budget_begin;
  const double along = progress - rule.budget_begin;
  const double rest = along >= span ? 0 : 1 - std::max(0.0, along / span);
  return start.density + (first - start.density) * rest * rest * rest;
}

}  // namespace tandem
