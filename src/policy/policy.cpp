#include "policy/policy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tandem {

std::string level_name(Level level) { return level == Level::kAttention ? "attention" : "weights"; }

namespace {

bool same_operations(const TopologyRule& a, const TopologyRule& b) {
  return std::equal(a.operations.begin(), a.operations.end(), b.operations.begin(),
                    b.operations.end(), [](const auto& x, const auto& y) {
                      return x.kind == y.kind && x.criterion == y.criterion &&
                             x.whole_net == y.whole_net;
                    });
}

}  // namespace

bool same_kind(const Policies& a, const Policies& b) {
  return a.schedule.kind == b.schedule.kind && a.sets.gradient == b.sets.gradient &&
         a.sets.update == b.sets.update && a.dormant.kind == b.dormant.kind &&
         a.dormant.sparse_steps_only == b.dormant.sparse_steps_only &&
         same_operations(a.topology, b.topology) && a.topology.order == b.topology.order &&
         a.topology.regrown == b.topology.regrown && a.start.pattern == b.start.pattern &&
         a.start.exempt == b.start.exempt && (a.alignment.alpha > 0) == (b.alignment.alpha > 0) &&
         a.alignment.distance == b.alignment.distance && a.alignment.site == b.alignment.site &&
         a.alignment.propagated == b.alignment.propagated;
}

double drop_fraction_at(const TopologyRule& rule, double progress) {
  const double t = std::clamp(progress, 0.0, 1.0);
  switch (rule.drop_schedule) {
    case TopologyRule::DropSchedule::kConstant:
      return rule.drop_fraction;
    case TopologyRule::DropSchedule::kLinear:
      return rule.drop_fraction * (1 - t);
    case TopologyRule::DropSchedule::kCosine:
      return rule.drop_fraction / 2 * (1 + std::cos(std::numbers::pi * t));
  }
  return rule.drop_fraction;
}

double density_at(const TopologyRule& rule, double final_density, double progress) {
  if (rule.budget_schedule == TopologyRule::BudgetSchedule::kConstant) return final_density;
  const double rest = 1 - std::clamp(progress, 0.0, 1.0);
  return final_density + (1 - final_density) * rest * rest * rest;
}

}  // namespace tandem
