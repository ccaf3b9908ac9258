// Rules are read from policies and plans, never from a method's name.
#include "support/method_rules.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "topology/granularity.h"

namespace tandem::test {
namespace {

using Counts = std::vector<std::int64_t>;
using Kind = TopologyOperation::Kind;

std::int64_t sum_of(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

bool updates_topology(const ReplicaPlan& plan) { return plan.updates() && !plan.enters_full; }

// Only the sum over layers is promised.
bool shares_budget(const TopologyRule& rule) {
  return rule.redistribution != TopologyRule::Redistribution::kNone ||
         std::any_of(rule.operations.begin(), rule.operations.end(),
                     [](const auto& operation) { return operation.whole_net; });
}

// What the operations of an update make of `active` of `items`, whose scheduled budget is `target`.
std::int64_t count_after(const TopologyRule& rule, double fraction, std::int64_t active,
                         std::int64_t target, std::int64_t items) {
  std::int64_t moved = 0;
  Kind last = Kind::kRank;
  for (const TopologyOperation& operation : rule.operations) {
    switch (operation.kind) {
      case Kind::kDrop:
        if (last != Kind::kGrow) moved = floor_count(fraction, active);
        active -= moved;
        break;
      case Kind::kGrow:
        if (last != Kind::kDrop) moved = std::min(floor_count(fraction, active), items - active);
        active += moved;
        break;
      case Kind::kPruneTo:
        active = std::min(active, target);
        break;
      case Kind::kGrowTo:
        active = std::max(active, std::min(items, target + floor_count(fraction, target)));
        break;
      case Kind::kRank:
        active = target;
        break;
    }
    last = operation.kind;
  }
  return active;
}

Counts target_items(const std::vector<LayerShape>& shapes, const Start& start, double density) {
  Counts items;
  for (std::size_t l = 0; l < shapes.size(); ++l) {
    const LayerBudget budget = spread_budget(shapes, start, density)[l];
    items.push_back(budget_items(shapes[l], start.granularity, budget.active));
  }
  return items;
}

Counts all_items(const std::vector<LayerShape>& shapes, const Granularity& granularity) {
  Counts items;
  for (const LayerShape& shape : shapes) items.push_back(item_count(shape, granularity));
  return items;
}

// U is the complement of this: what the step itself leaves as it was.
at::Tensor outside_update(const Policies& policies, const ReplicaPlan& plan,
                          const LayerState& before) {
  const at::Tensor none = torch::zeros_like(before.active);
  if (plan.update_instead) return none.logical_not();
  switch (policies.sets.update) {
    case Support::kMask:
      return before.active.logical_not();
    case Support::kSuperset:
      return before.superset.defined() ? before.superset.logical_not() : none;
    case Support::kStream:
      return plan.levels.weights.full ? none : before.active.logical_not();
    case Support::kAll:
      return none;
  }
  return none;
}

// Slots that criteria set after updates as they see fit.
std::set<std::string> slots_of_criteria(const TopologyRule& rule) {
  std::set<std::string> names;
  for (const TopologyOperation& operation : rule.operations) {
    const Criterion& used = criterion(operation.criterion);
    if (used.after_update != nullptr) names.insert(used.slots.begin(), used.slots.end());
  }
  return names;
}

bool all_equal(const at::Tensor& values, const at::Tensor& where, double to) {
  return !values.ne(to).logical_and(where).any().item<bool>();
}

void require_empty(const LayerState& state, const std::set<std::string>& exempt,
                   const at::Tensor& where) {
  REQUIRE(all_equal(state.values, where, 0));
  for (const auto& [name, slot] : state.slots) {
    if (exempt.count(name) != 0) continue;
    CAPTURE(name);
    REQUIRE(all_equal(slot.values, where, 0));
  }
}

// `held`: the values that they had while dormant, where they resume them.
void require_newborn(const LayerState& state, const std::set<std::string>& exempt,
                     const at::Tensor& born, double deviation, const at::Tensor& held = {}) {
  if (held.defined()) {
    REQUIRE(same_bits(held, state.values, born));
  } else if (deviation == 0) {
    REQUIRE(all_equal(state.values, born, 0));
  } else {
    REQUIRE_FALSE(state.values.eq(0).logical_and(born).any().item<bool>());
  }
  for (const auto& [name, slot] : state.slots) {
    if (exempt.count(name) != 0) continue;
    CAPTURE(name);
    REQUIRE(all_equal(slot.values, born, slot.newborn));
  }
}

// A layer drops a share of its own weights by one score and then grows as many.
bool drops_a_share(const Policies& policies) {
  const TopologyRule& rule = policies.topology;
  return rule.operations.size() == 2 && rule.operations[0].kind == Kind::kDrop &&
         rule.operations[1].kind == Kind::kGrow && !rule.operations[0].whole_net &&
         !criterion(rule.operations[0].criterion).per_sign &&
         rule.redistribution == TopologyRule::Redistribution::kNone &&
         policies.start.granularity.kind == Granularity::Kind::kElement;
}

// Weights that an update leaves active are as it found them, or, where those that were dropped and
// grown again begin anew, newborn: exactly those, where their number is known.
void require_survivors(const Policies& policies, double progress, const LayerState& found,
                       const LayerState& after) {
  const TopologyRule& rule = policies.topology;
  const std::set<std::string> exempt = slots_of_criteria(rule);
  at::Tensor same = bits_of(found.values).eq(bits_of(after.values));
  at::Tensor anew = rule.newborn_stale    ? same
                    : rule.newborn_sd > 0 ? torch::ones_like(same)
                                          : after.values.eq(0);
  for (const auto& [name, slot] : after.slots) {
    if (exempt.count(name) != 0) continue;
    if (!rule.empties_slots) {
      same = same.logical_and(bits_of(found.slots.at(name).values).eq(bits_of(slot.values)));
    }
    anew = anew.logical_and(slot.values.eq(slot.newborn));
  }
  const auto count = [](const at::Tensor& flags) { return flags.sum().item<std::int64_t>(); };
  const at::Tensor stayed = found.active.logical_and(after.active);
  const bool renews = grows(rule) && rule.regrown == TopologyRule::Regrown::kZero;
  REQUIRE(count(stayed.logical_and((renews ? same.logical_or(anew) : same).logical_not())) == 0);
  if (!drops_a_share(policies)) return;
  std::int64_t dropped = floor_count(drop_fraction_at(rule, progress), count(found.active));
  const bool excludes = rule.regrown == TopologyRule::Regrown::kExclude;
  if (excludes) dropped = std::min(dropped, found.active.numel() - count(found.active));
  const std::int64_t regrown = dropped - (count(found.active) - count(stayed));
  REQUIRE((excludes ? regrown == 0 : regrown >= 0));
  if (!renews) return;
  REQUIRE(count(stayed.logical_and(same.logical_not())) <= regrown);
  REQUIRE(count(stayed.logical_and(anew)) >= regrown);
}

}  // namespace

bool grows(const TopologyRule& rule) {
  return std::any_of(rule.operations.begin(), rule.operations.end(), [](const auto& operation) {
    return operation.kind == Kind::kGrow || operation.kind == Kind::kGrowTo;
  });
}

std::int64_t require_held(const Linear& layer, const Granularity& granularity,
                          std::int64_t replica) {
  const Grouping grouping(granularity, layer.inputs(), layer.outputs());
  const at::Tensor flags = layer.connections->dense_flags().narrow(0, replica, 1);
  const std::int64_t active = layer.connections->active(replica);
  REQUIRE(flags.sum().item<std::int64_t>() == active);
  REQUIRE(grouping.position_flags(grouping.item_flags(flags)).equal(flags));
  if (grouping.has_quotas()) REQUIRE(grouping.held(flags).equal(grouping.quotas({active})));
  const std::int64_t items = grouping.item_flags(flags).sum().item<std::int64_t>();
  REQUIRE(layer.connections->active_items(replica) == items);
  return items;
}

std::string mask_hashes(Trainer& trainer) {
  std::string line;
  for (const Linear* layer : trainer.model().linears()) {
    for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
      line += layer->connections->active_set(r).hash() + " ";
    }
  }
  return line;
}

Observed::Observed(Trainer& trainer) : trainer_(trainer) {
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    CAPTURE(r);
    replicas_.push_back({layer_states(trainer, r), {}, held_items(r), held_items(r)});
    require_start(r);
    require_superset(r);
  }
  trainer.before_update = [this](const std::vector<char>& due) {
    for (std::size_t r = 0; r < due.size(); ++r) {
      if (due[r]) replicas_[r].found = layer_states(trainer_, static_cast<std::int64_t>(r));
    }
  };
}

std::vector<std::int64_t> Observed::held_items(std::int64_t replica) const {
  const std::vector<Linear*> linears = trainer_.model().linears();
  Counts items;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    CAPTURE(linears[l]->name());
    Granularity granularity = trainer_.run(replica).policies.weights.start.granularity;
    const bool ablates = granularity.ablation > 0 && l + 1 < linears.size();
    if (ablates) granularity = {};  // units differ in what they hold
    items.push_back(require_held(*linears[l], granularity, replica));
  }
  return items;
}

void Observed::require_start(std::int64_t replica) {
  const Policies& policies = trainer_.run(replica).policies.weights;
  const Replica& own = replicas_[static_cast<std::size_t>(replica)];
  const Start& start = policies.start;
  REQUIRE(own.items == (start.pattern == Start::Pattern::kDense
                            ? all_items(trainer_.layers(), start.granularity)
                            : target_items(trainer_.layers(), start, start.first_density())));
  if (!policies.dormant_stay_zero()) return;
  for (const LayerState& layer : own.layers) require_empty(layer, {}, layer.active.logical_not());
}

void Observed::require_budget(std::int64_t replica, const ReplicaPlan& plan) {
  Replica& own = replicas_[static_cast<std::size_t>(replica)];
  const Counts before = own.items;
  own.items = held_items(replica);
  if (!updates_topology(plan)) {
    REQUIRE(own.items == before);
    return;
  }
  const TopologyRule& rule = trainer_.run(replica).policies.weights.topology;
  const Start& start = trainer_.run(replica).policies.weights.start;
  const std::vector<LayerShape>& shapes = trainer_.layers();
  if (start.granularity.ablation > 0) {  // all but a remainder smaller than the number of units
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      REQUIRE(own.items[l] <= own.at_first[l]);
      REQUIRE(own.items[l] > own.at_first[l] - shapes[l].outputs);
    }
    return;
  }
  const double fraction = drop_fraction_at(rule, plan.topology_progress);
  const Counts all = all_items(shapes, start.granularity);
  const Counts target =
      target_items(shapes, start, density_at(rule, start, plan.topology_progress));
  if (shares_budget(rule)) {
    REQUIRE(sum_of(own.items) ==
            count_after(rule, fraction, sum_of(before), sum_of(target), sum_of(all)));
    return;
  }
  Counts expected;
  for (std::size_t l = 0; l < shapes.size(); ++l) {
    expected.push_back(count_after(rule, fraction, before[l], target[l], all[l]));
  }
  REQUIRE(own.items == expected);
}

// B holds M and, where it is larger, has exactly its own budget.
void Observed::require_superset(std::int64_t replica) {
  const Policies& policies = trainer_.run(replica).policies.weights;
  if (policies.sets.superset == 0) return;
  const auto budgets =
      spread_budget(trainer_.layers(), policies.sets.superset, policies.start.budget);
  const Replica& own = replicas_[static_cast<std::size_t>(replica)];
  for (std::size_t l = 0; l < own.layers.size(); ++l) {
    const LayerState& layer = own.layers[l];
    REQUIRE_FALSE(layer.active.logical_and(layer.superset.logical_not()).any().item<bool>());
    REQUIRE(layer.superset.sum().item<std::int64_t>() ==
            std::max(layer.active.sum().item<std::int64_t>(), budgets[l].active));
  }
}

void Observed::require_policy(const Policies& policies, const ReplicaPlan& plan,
                              const LayerState& before, const LayerState& after) {
  const TopologyRule& rule = policies.topology;
  const std::set<std::string> exempt = slots_of_criteria(rule);
  const bool updates = updates_topology(plan);
  const bool leaves_superset = policies.sets.outside_zero && before.superset.defined();
  const at::Tensor outside = outside_update(policies, plan, before);
  at::Tensor kept = outside;
  const auto cleared = [&](const at::Tensor& where) {
    require_empty(after, exempt, where);
    kept = kept.logical_and(where.logical_not());
  };
  if (policies.dormant_stay_zero()) cleared(after.active.logical_not());
  if (leaves_superset) cleared(after.superset.logical_not());
  if (policies.dormant.zeroed_by_phases && plan.enters_sparse) cleared(after.active.logical_not());
  if (updates) {
    const bool grown = grows(rule);
    const at::Tensor born = grown ? after.active.logical_and(before.active.logical_not())
                            : leaves_superset
                                ? after.superset.logical_and(before.superset.logical_not())
                                : torch::zeros_like(after.active);
    require_newborn(after, exempt, born, grown ? rule.newborn_sd : 0,
                    grown && rule.newborn_stale ? before.values : at::Tensor());
    grew_ = grew_ || born.any().item<bool>();
    kept = kept.logical_and(born.logical_not());
    // Dropped and grown again it may begin anew, and nothing outside tells that it did.
    const bool renewed = grown && rule.regrown == TopologyRule::Regrown::kZero;
    if (renewed) kept = kept.logical_and(before.active.logical_not());
  }
  REQUIRE(same_bits(before.values, after.values, kept));
  const bool empties = policies.schedule.empties_slots && plan.enters_full;
  for (const auto& [name, slot] : after.slots) {
    if (exempt.count(name) != 0) continue;
    CAPTURE(name);
    if (empties) {
      REQUIRE(all_equal(slot.values, torch::ones_like(kept), 0));
    } else if (updates && rule.empties_slots) {
      REQUIRE(all_equal(slot.values, torch::ones_like(kept), slot.newborn));
    } else {
      REQUIRE(same_bits(before.slots.at(name).values, slot.values, kept));
    }
  }
  REQUIRE(after.values.isfinite().all().item<bool>());
}

void Observed::advance(std::int64_t step) {
  CAPTURE(step);
  const StepReport report = trainer_.advance(0, step, 1);
  REQUIRE(report.steps == 1);
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    CAPTURE(r);
    REQUIRE_FALSE(trainer_.diverged(r));
    const ReplicaPlan plan = plan_replica(trainer_.run(r), 0, step);
    const bool reports = updates_topology(plan) && plan.logged;
    REQUIRE(replicas_[static_cast<std::size_t>(r)].found.empty() != reports);
    REQUIRE((report.updated[static_cast<std::size_t>(r)] != 0) == reports);
    updated_ = updated_ || updates_topology(plan);
    Replica& own = replicas_[static_cast<std::size_t>(r)];
    const std::vector<LayerState> before = std::move(own.layers), found = std::move(own.found);
    own.found.clear();
    own.layers = layer_states(trainer_, r);
    require_budget(r, plan);
    require_superset(r);
    for (std::size_t l = 0; l < before.size(); ++l) {
      CAPTURE(trainer_.layers()[l].name);
      require_policy(trainer_.run(r).policies.weights, plan, before[l], own.layers[l]);
      if (found.empty()) continue;
      require_survivors(trainer_.run(r).policies.weights, plan.topology_progress, found[l],
                        own.layers[l]);
    }
  }
}

}  // namespace tandem::test
