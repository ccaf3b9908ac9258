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
                             x.whole_net == y.whole_net && x.parameter == y.parameter &&
                             x.sampled == y.sampled;
                    });
}

}  // namespace

namespace {

bool same_schedule(const Schedule& a, const Schedule& b) {
  return a.kind == b.kind && a.draw == b.draw && a.empties_slots == b.empties_slots;
}

bool same_sets(const Sets& a, const Sets& b) {
  return a.gradient == b.gradient && a.update == b.update && (a.superset > 0) == (b.superset > 0) &&
         a.superset_random == b.superset_random && a.full_in_superset == b.full_in_superset &&
         a.outside_zero == b.outside_zero && a.nested.size() == b.nested.size();
}

bool same_dormant(const Dormant& a, const Dormant& b) {
  return a.kind == b.kind && a.sparse_steps_only == b.sparse_steps_only &&
         a.in_gradient == b.in_gradient && a.zeroed_by_phases == b.zeroed_by_phases;
}

bool same_rule(const TopologyRule& a, const TopologyRule& b) {
  return same_operations(a, b) && a.order == b.order && a.regrown == b.regrown &&
         a.newborn_stale == b.newborn_stale && a.empties_slots == b.empties_slots &&
         a.redistribution == b.redistribution && a.at_phases == b.at_phases &&
         a.fresh_batches == b.fresh_batches;
}

bool same_start(const Start& a, const Start& b) {
  return a.pattern == b.pattern && a.exempt == b.exempt && a.granularity == b.granularity;
}

bool same_alignment(const Alignment& a, const Alignment& b) {
  return (a.alpha > 0) == (b.alpha > 0) && a.distance == b.distance && a.site == b.site &&
         a.propagated == b.propagated && a.shuffled == b.shuffled && a.detached == b.detached &&
         (a.gap_target > 0) == (b.gap_target > 0);
}

}  // namespace

bool same_kind(const Policies& a, const Policies& b) {
  return same_schedule(a.schedule, b.schedule) && same_sets(a.sets, b.sets) &&
         same_dormant(a.dormant, b.dormant) && same_rule(a.topology, b.topology) &&
         same_start(a.start, b.start) && same_alignment(a.alignment, b.alignment) &&
         a.perturbation.kind == b.perturbation.kind &&
         a.perturbation.adds_own == b.perturbation.adds_own &&
         a.perturbation.unit == b.perturbation.unit &&
         a.perturbation.masked == b.perturbation.masked &&
         (a.teacher.alpha > 0) == (b.teacher.alpha > 0) && a.power == b.power;
}

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
