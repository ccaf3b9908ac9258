#include "policy/demands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "policy/criterion_facts.h"

namespace tandem {
namespace {

using Operation = TopologyOperation::Kind;

template <class T>
bool one_of(T value, std::initializer_list<T> allowed) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

// Values as text: names of enumerators are their numbers, reals come back as they are.
template <class T>
std::string as_text(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<int>(value));
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    return fmt::format("{}", fmt::join(value, ","));
  } else {
    return fmt::format("{}", value);
  }
}

template <class... Values>
std::string listed(const char* policy, const Values&... values) {
  std::string text = std::string(policy) + "(";
  ((text += as_text(values) + ";"), ...);
  return text + ")";
}

// The kind of each policy. What a function takes apart and does not list are numbers that are read
// run by run.

std::string kind_of(const Schedule& policy) {
  const auto& [kind, p, p_final, course, draw, draw_steps, loss_full, loss_sparse, phases,
               empties_slots, last_phase_lr] = policy;
  return listed("schedule", kind, draw, empties_slots);
}

std::string kind_of(const Sets& policy) {
  const auto& [gradient, update, superset, superset_random, full_in_superset, outside_zero,
               nested] = policy;
  return listed("sets", gradient, update, superset > 0, superset_random, full_in_superset,
                outside_zero, nested.size());
}

std::string kind_of(const Dormant& policy) {
  const auto& [kind, eta, sparse_steps_only, scaled_by_lr, in_gradient, zeroed_by_phases] = policy;
  return listed("dormant", kind, sparse_steps_only, in_gradient, zeroed_by_phases);
}

std::string kind_of(const TopologyOperation& policy) {
  const auto& [kind, criterion, whole_net, parameter, sampled, sharpness, sharpness_final] = policy;
  return listed("operation", kind, criterion, whole_net, parameter, sampled);
}

std::string kind_of(const TopologyRule& policy) {
  const auto& [operations, interval_steps, interval_epochs, begin, end, drop_fraction, drop_final,
               drop_schedule, budget_schedule, budget_begin, budget_end, order, regrown,
               redistribution, at_phases, fresh_batches, newborn_sd, newborn_stale, empties_slots] =
      policy;
  std::string text = listed("rule", order, regrown, redistribution, at_phases, fresh_batches,
                            newborn_sd, newborn_stale, empties_slots);
  for (const TopologyOperation& operation : operations) text += kind_of(operation);
  return text;
}

std::string kind_of(const Granularity& policy) {
  const auto& [kind, n, m, block, ablation] = policy;
  return listed("granularity", kind, n, m, block, ablation);
}

std::string kind_of(const Start& policy) {
  const auto& [pattern, budget, init_scale, density, initial_density, exempt, granularity, drawn] =
      policy;
  return listed("start", pattern, exempt) + kind_of(granularity);
}

std::string kind_of(const Alignment& policy) {
  const auto& [alpha, alpha_warmup_steps, lambda_full, lambda_sparse, distance, site, propagated,
               detached, every_steps, shuffled, gap_target, gap_rate] = policy;
  return listed("alignment", alpha > 0, distance, site, propagated, detached, shuffled,
                gap_target > 0);
}

std::string kind_of(const Perturbation& policy) {
  const auto& [kind, radius, unit, masked, adds_own] = policy;
  return listed("perturbation", kind, unit, masked, adds_own);
}

std::string kind_of(const Teacher& policy) {
  const auto& [alpha, temperature] = policy;
  return listed("teacher", alpha > 0, temperature);
}

std::string kind_of(const Policies::Selector& policy) {
  const auto& [score, per_head, force_first, nearest, top_p, subblocks, stride, streaming,
               indexer] = policy;
  const auto& [heads, pool, target] = indexer;
  return listed("selector", score, per_head, force_first, nearest, top_p, subblocks, stride,
                streaming) +
         listed("indexer", heads, pool, target);
}

std::string kind_of(const Policies& policies) {
  const auto& [schedule, sets, dormant, topology, start, alignment, perturbation, teacher, power,
               module, selector, entropy_penalty] = policies;
  return kind_of(schedule) + kind_of(sets) + kind_of(dormant) + kind_of(topology) + kind_of(start) +
         kind_of(alignment) + kind_of(perturbation) + kind_of(teacher) + listed("power", power) +
         listed("module", module) + kind_of(selector) + listed("penalty", entropy_penalty > 0);
}

void demand_reads(const Policies& policies, Demands& demands) {
  for (const std::string& name : criteria_read(policies.topology)) {
    const CriterionFacts facts = criterion_facts(name);
    demands.reads_gradient = demands.reads_gradient || facts.gradient;
    demands.accumulates = demands.accumulates || facts.accumulates;
    demands.reads_inputs = demands.reads_inputs || facts.inputs;
  }
  demands.fresh_batches = policies.topology.fresh_batches;
}

// A gradient is cut layer by layer where they draw streams of their own, to a superset, to the mask
// where one product serves the task and another the alignment, or in part, at perturbed weights.
// (Nested masks refuse criteria that read it.)
bool cuts_gradients(const Policies& policies) {
  return policies.schedule.draws_per_layer() || policies.sets.superset > 0 ||
         policies.alignment.alpha > 0 || policies.perturbation.masked;
}

bool ever_reaches_all(const Policies& policies) {
  const Sets& sets = policies.sets;
  if (sets.gradient == Support::kAll) return true;
  return sets.gradient == Support::kStream && !sets.full_in_superset &&
         (policies.has_full_stream() || policies.alignment.alpha != 0);
}

bool renews_weights(const Policies& policies) {
  const auto& operations = policies.topology.operations;
  return policies.schedule.empties_slots || policies.sets.outside_zero ||
         policies.topology.empties_slots ||
         std::any_of(operations.begin(), operations.end(), [](const TopologyOperation& each) {
           return one_of(each.kind, {Operation::kGrow, Operation::kGrowTo});
         });
}

// Where a replica has diverged, a change of its counts is nothing that anybody reads: its weights
// stand still and are not kept, its read-outs are over, and no other replica's selection sees its
// scores.
bool keeps_counts(const Policies& policies) {
  const TopologyRule& rule = policies.topology;
  return rule.budget_schedule == TopologyRule::BudgetSchedule::kConstant &&
         policies.start.granularity.kind != Granularity::Kind::kBlock &&
         std::all_of(rule.operations.begin(), rule.operations.end(), [](const auto& operation) {
           return operation.kind == Operation::kRank && !operation.whole_net;
         });
}

// What a storage of the active weights alone serves.

std::string refusal_of_mask(const Policies& weights) {
  if (!one_of(weights.schedule.kind, {Schedule::Kind::kSparse})) {
    return "its full stream computes with all weights";
  }
  if (!one_of(weights.sets.gradient, {Support::kMask})) {
    return "weights outside the mask get a gradient";
  }
  if (!one_of(weights.sets.update, {Support::kMask})) return "weights outside the mask change";
  if (!one_of(weights.dormant.kind, {Dormant::Kind::kZero})) {
    return "weights outside the mask keep values";
  }
  if (weights.alignment.alpha > 0) return "it aligns with a full stream";
  return "";
}

std::string refusal_of_superset(const Policies& weights) {
  const Sets& sets = weights.sets;
  if (!sets.outside_zero) {
    return "weights outside the superset keep values (superset_outside = hold)";
  }
  const bool computes_full =
      !one_of(weights.schedule.kind, {Schedule::Kind::kSparse}) || weights.alignment.alpha > 0;
  if (computes_full && !sets.full_in_superset) return "its full stream computes with all weights";
  if (!one_of(sets.gradient, {Support::kMask, Support::kStream, Support::kSuperset})) {
    return "weights outside the superset get a gradient";
  }
  if (!one_of(sets.update, {Support::kMask, Support::kSuperset})) {
    return "weights outside the superset change";
  }
  return "";
}

std::string refusal_of_criterion(const std::string& name, bool superset) {
  const CriterionFacts facts = criterion_facts(name);
  if (facts.accumulates) return "criterion '" + name + "' keeps a slot of every weight's gradient";
  if (facts.everywhere) {
    return "criterion '" + name + "' keeps a slot of every weight, dormant ones too";
  }
  if (superset && facts.gradient) {
    return "criterion '" + name + "' reads gradients, which dormant weights of a superset " +
           "have on some steps only";
  }
  return "";
}

bool serves(Operation kind, bool superset) {
  return one_of(kind,
                {Operation::kDrop, Operation::kGrow, Operation::kPruneTo, Operation::kGrowTo}) ||
         (superset && kind == Operation::kRank);
}

std::string refusal_of_operations(const TopologyRule& rule, bool superset) {
  for (const TopologyOperation& each : rule.operations) {
    if (!serves(each.kind, superset)) return "its updates rank active and dormant weights together";
  }
  for (const std::string& name : criteria_read(rule)) {
    const std::string refusal = refusal_of_criterion(name, superset);
    if (!refusal.empty()) return refusal;
  }
  for (const TopologyOperation& each : rule.operations) {
    if (each.kind != Operation::kRank) continue;
    if (each.whole_net) return "its updates rank all layers together";
    if (each.sampled || criterion_facts(each.criterion).within_layer) {
      return "criterion '" + each.criterion +
             "' ranks weights that are outside the superset as well";
    }
  }
  return "";
}

std::string sparse_refusal(const Policies& weights) {
  const bool superset = weights.sets.superset > 0;
  const std::string of_sets = superset ? refusal_of_superset(weights) : refusal_of_mask(weights);
  if (!of_sets.empty()) return of_sets;
  if (!weights.sets.nested.empty()) return "it draws nested masks";
  if (!one_of(weights.perturbation.kind, {Perturbation::Kind::kNone})) {
    return "its gradients are taken at perturbed weights";
  }
  if (!one_of(weights.start.granularity.kind, {Granularity::Kind::kElement})) {
    return "its weights are not chosen one by one (granularity)";
  }
  return refusal_of_operations(weights.topology, superset);
}

}  // namespace

std::vector<std::string> criteria_read(const TopologyRule& rule) {
  std::vector<std::string> names;
  for (const TopologyOperation& operation : rule.operations) names.push_back(operation.criterion);
  if (rule.redistribution == TopologyRule::Redistribution::kAveragedGradient) {
    names.push_back(kRedistributionCriterion);
  }
  return names;
}

Demands demands_of(const Policies& policies) {
  Demands demands;
  const Alignment& alignment = policies.alignment;
  demands.full_stream = policies.has_full_stream();
  demands.both_streams = policies.schedule.kind == Schedule::Kind::kBoth;
  demands.aligns = alignment.alpha > 0;
  demands.detached = alignment.detached;
  demands.counterpart_pass = alignment.propagated;
  demands.layers_draw = policies.schedule.draws_per_layer();
  demands.perturbed = policies.perturbation.kind != Perturbation::Kind::kNone;
  demands.teacher = policies.teacher.alpha > 0;
  demands.gradient = policies.sets.gradient;
  demands.update = policies.sets.update;
  demands.full_in_superset = policies.sets.full_in_superset;
  demands.ever_reaches_all = ever_reaches_all(policies);
  demands.cuts_gradients = cuts_gradients(policies);
  demand_reads(policies, demands);
  demands.renews_weights = renews_weights(policies);
  demands.keeps_counts = keeps_counts(policies);
  demands.sparse_refusal = sparse_refusal(policies);
  demands.kind = kind_of(policies);
  return demands;
}

}  // namespace tandem
