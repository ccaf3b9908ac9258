// The operations of an update run in their order; topology_spread.cpp has the rankings over all
// layers.
#include "topology/topology_update.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/parallel.h"
#include "data/tensor.h"
#include "policy/rules.h"
#include "topology/nested_masks.h"
#include "topology/random_ranks.h"
#include "topology/rule_criteria.h"
#include "topology/segments.h"

namespace tandem {
namespace {

using Kind = TopologyOperation::Kind;

// Returns [R] which replicas' counts are wanted.
std::vector<char> reported_of(const UpdateMoment& moment) {
  std::vector<char> wanted = moment.due;
  for (std::size_t r = 0; r < moment.reported.size(); ++r) {
    wanted[r] = wanted[r] && moment.reported[r];
  }
  return wanted;
}

// Says whether some caller reads what an update did.
bool reports(const UpdateMoment& moment) {
  return moment.reported.empty() || std::any_of(moment.reported.begin(), moment.reported.end(),
                                                [](char wanted) { return wanted != 0; });
}

double sharpness_at(const TopologyOperation& operation, double progress) {
  const double t = std::clamp(progress, 0.0, 1.0);
  return operation.sharpness + (operation.sharpness_final - operation.sharpness) * t;
}

bool grows(Kind kind) { return kind == Kind::kGrow || kind == Kind::kGrowTo; }

bool moves_share(Kind kind) { return kind == Kind::kDrop || kind == Kind::kGrow; }

// Counts the active weights below zero in a replica's segment that an update may move.
std::int64_t active_negatives(Connections& connections, std::size_t replica) {
  const Parameter& parameter = connections.parameter();
  const auto segments = parameter.segments();
  const std::int64_t first = segments[replica], length = segments[replica + 1] - first;
  at::Tensor negative = parameter.flat().narrow(0, first, length).lt(0);
  const at::Tensor active = connections.active_flags();
  if (active.defined()) negative = negative & active.narrow(0, first, length).ne(0);
  const at::Tensor held = parameter.held(static_cast<std::int64_t>(replica));
  if (held.defined()) negative = negative & held.logical_not();
  return negative.sum().item<std::int64_t>();
}

// Slots that follow the topology see what is active now.
void follow_topology(const std::vector<Criterion>& criteria, Connections& layer) {
  for (const Criterion& each : criteria) {
    if (each.after_update == nullptr) continue;
    Parameter& parameter = layer.parameter();
    std::map<std::string, at::Tensor> slots;
    for (const std::string& name : each.slots) slots[name] = parameter.slot(name);
    const at::Tensor flags = layer.active_flags();
    each.after_update(flags.defined() ? flags
                                      : torch::ones({parameter.value.numel()},
                                                    parameter.flat().options().dtype(torch::kByte)),
                      slots);
  }
}

}  // namespace

TopologyUpdater::TopologyUpdater(std::vector<Connections*> layers, std::vector<LayerShape> shapes,
                                 std::vector<TopologyRule> rules, std::vector<Start> starts,
                                 std::vector<std::uint64_t> run_keys)
    : layers_(std::move(layers)),
      shapes_(std::move(shapes)),
      rules_(std::move(rules)),
      starts_(std::move(starts)),
      run_keys_(std::move(run_keys)) {
  TORCH_INTERNAL_ASSERT(layers_.size() == shapes_.size(), "connections and shapes per layer");
  criteria_ = criteria_of(rules_.front());
  TORCH_INTERNAL_ASSERT(
      !rules_.empty() && rules_.size() == starts_.size() && rules_.size() == run_keys_.size(),
      "rules, starts and keys per replica");
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (!changes(l)) continue;
    TORCH_INTERNAL_ASSERT(layers_[l]->replicas() == static_cast<std::int64_t>(replicas()) &&
                              layers_[l]->positions() == shapes_[l].positions(),
                          "layer ", shapes_[l].name, " has another shape than its connections");
  }
  for (std::size_t r = 0; r < replicas(); ++r) check_policies(policies_of(r));
  demands_ = demands_of(policies_of(0));
  for (const Criterion& each : criteria_) {
    if (!each.everywhere) continue;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (!changes(l)) continue;
      for (const std::string& name : each.slots) {
        layers_[l]->parameter().slot(name);
        layers_[l]->parameter().slots.at(name).everywhere = true;
      }
    }
  }
  at::NoGradGuard no_grad;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (changes(l)) follow_topology(criteria_, *layers_[l]);
  }
}

Policies TopologyUpdater::policies_of(std::size_t replica) const {
  Policies own;
  own.topology = rules_[replica];
  own.start = starts_[replica];
  return own;
}

void TopologyUpdater::expect_gradient(bool expected) {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (!changes(l)) continue;
    if (demands_.reads_gradient) layers_[l]->expect_gradient(expected);
    if (demands_.reads_inputs) layers_[l]->expect_inputs(expected);
  }
}

std::vector<UpdateCounts> TopologyUpdater::update(const UpdateMoment& moment, bool zero_dormant) {
  TORCH_INTERNAL_ASSERT(moment.due.size() == replicas() && moment.progress.size() == replicas() &&
                            moment.number.size() == replicas(),
                        "an update's moment needs an entry per replica");
  begin(moment);
  for (std::size_t i = 0; i < rules_[0].operations.size(); ++i) {
    apply(rules_[0].operations[i], criteria_[i], moment, zero_dormant);
  }
  std::vector<UpdateCounts> layers;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (!changes(l)) continue;
    layers_[l]->finish({moment.due, std::vector<std::int64_t>(replicas(), 0)}, zero_dormant);
    if (rules_[0].empties_slots) layers_[l]->parameter().empty_slots(moment.due);
    follow_topology(criteria_, *layers_[l]);
    if (reports(moment)) layers.push_back(report(l, moment));
  }
  choose_superset(moment);
  choose_nested(moment);
  before_.clear();
  return layers;
}

void TopologyUpdater::keep_superset(std::vector<double> density, bool random, bool outside_zero) {
  superset_ = std::move(density);
  superset_random_ = random;
  outside_zero_ = outside_zero;
  choose_superset({std::vector<char>(replicas(), 1), std::vector<double>(replicas(), 0),
                   std::vector<std::int64_t>(replicas(), 0)});
}

void TopologyUpdater::choose_superset(const UpdateMoment& moment) {
  if (superset_.empty()) return;
  std::vector<TopologyChange> changes_of_layers(layers_.size());
  for (std::size_t r = 0; r < replicas(); ++r) {
    const auto budgets = spread_budget(shapes_, superset_[r], starts_[r].budget);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      TopologyChange& change = changes_of_layers[l];
      change.due.push_back(moment.due[r]);
      change.count.push_back(budgets[l].active);
      change.keys.push_back(
          topology_key(run_keys_[r], static_cast<std::int64_t>(l), moment.number[r]));
    }
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (changes(l))
      layers_[l]->choose_superset(changes_of_layers[l], superset_random_, outside_zero_);
  }
}

void TopologyUpdater::keep_nested(std::vector<std::vector<double>> shares) {
  nested_ = std::move(shares);
  choose_nested({std::vector<char>(replicas(), 1), std::vector<double>(replicas(), 0),
                 std::vector<std::int64_t>(replicas(), 0)});
}

void TopologyUpdater::choose_nested(const UpdateMoment& moment) {
  if (nested_.empty()) return;
  const std::size_t masks = nested_.front().size();
  std::vector<Counts> counts(layers_.size(), Counts(masks));  // [L][masks][R]
  for (std::size_t r = 0; r < replicas(); ++r) {
    std::vector<std::int64_t> active;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      active.push_back(changes(l) ? layers_[l]->active(static_cast<std::int64_t>(r))
                                  : shapes_[l].positions());
    }
    const Counts own = nested_counts(shapes_, starts_[r], nested_[r], active);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (std::size_t i = 0; i < masks; ++i) counts[l][i].push_back(own[i][l]);
    }
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (changes(l)) layers_[l]->choose_nested(moment.due, counts[l]);
  }
}

void TopologyUpdater::begin(const UpdateMoment& moment) {
  opened_.reset();
  moved_.assign(layers_.size(), std::vector<std::int64_t>(replicas(), 0));
  targets_ = free_ = moved_;
  const std::vector<char> reported = reported_of(moment);
  before_.assign(reports(moment) ? layers_.size() : 0, std::vector<ActiveSet>(replicas()));
  for (std::size_t r = 0; r < replicas(); ++r) {
    if (!moment.due[r]) continue;
    const double density = density_at(rules_[r], starts_[r], moment.progress[r]);
    const auto budgets = spread_budget(shapes_, starts_[r], density);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      targets_[l][r] = budget_items(shapes_[l], starts_[r].granularity, budgets[l].active);
      if (!changes(l)) continue;
      free_[l][r] = layers_[l]->items() - layers_[l]->active_items(static_cast<std::int64_t>(r));
    }
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (changes(l) && reports(moment)) before_[l] = layers_[l]->active_sets(reported);
  }
  weigh_layers(moment);
}

TopologyUpdater::Size TopologyUpdater::size(std::size_t layer, std::size_t replica) const {
  return {
      layers_[layer]->items(),  layers_[layer]->active_items(static_cast<std::int64_t>(replica)),
      targets_[layer][replica], moved_[layer][replica],
      free_[layer][replica],    layers_[layer]->held(static_cast<std::int64_t>(replica))};
}

std::int64_t TopologyUpdater::amount(const Operation& operation, const Size& size,
                                     double fraction) const {
  // SNFS drops no more of a nearly dense layer than it has gaps: growth may go elsewhere.
  const bool redistributes =
      rules_[0].redistribution != TopologyRule::Redistribution::kNone && size.positions > 0;
  const double sparsity = 1 - static_cast<double>(size.active) /
                                  static_cast<double>(std::max<std::int64_t>(1, size.positions));
  if (redistributes && sparsity < 0.2) fraction = std::min(fraction, sparsity);
  const std::int64_t movable = std::max<std::int64_t>(0, size.active - size.held);
  const std::int64_t share = floor_count(fraction, movable);
  switch (operation.kind) {
    case Kind::kDrop:
      if (opened_ == Kind::kGrow) return size.moved;
      return excludes_dropped() ? std::min(share, size.free) : share;
    case Kind::kGrow:
      return std::min(opened_ == Kind::kDrop ? size.moved : share, size.positions - size.active);
    case Kind::kPruneTo:
      return std::clamp<std::int64_t>(size.active - size.target, 0, movable);
    case Kind::kGrowTo:
      return std::clamp<std::int64_t>(
          size.target + floor_count(fraction, size.target) - size.active, 0,
          size.positions - size.active);
    case Kind::kRank:
      return std::max(size.target, size.held);
  }
  return 0;
}

TopologyUpdater::Counts TopologyUpdater::layer_counts(const Operation& operation,
                                                      const UpdateMoment& moment) const {
  Counts counts(layers_.size(), std::vector<std::int64_t>(replicas(), 0));
  for (std::size_t r = 0; r < replicas(); ++r) {
    if (!moment.due[r]) continue;
    const double fraction = drop_fraction_at(rules_[r], moment.progress[r]);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (changes(l)) counts[l][r] = amount(operation, size(l, r), fraction);
    }
  }
  return counts;
}

TopologyChange TopologyUpdater::change_of(const Operation& operation, std::size_t layer,
                                          const Counts& counts, const UpdateMoment& moment) const {
  TopologyChange change{moment.due, counts[layer]};
  change.prunes = operation.kind == Kind::kPruneTo;
  change.excludes_dropped = operation.kind == Kind::kGrow && excludes_dropped();
  const auto place = static_cast<std::size_t>(&operation - rules_[0].operations.data());
  const bool per_sign = criterion(operation.criterion).per_sign;
  for (std::size_t r = 0; r < replicas(); ++r) {
    change.keys.push_back(
        topology_key(run_keys_[r], static_cast<std::int64_t>(layer), moment.number[r]));
    if (operation.sampled) {
      change.sharpness.push_back(sharpness_at(rules_[r].operations[place], moment.progress[r]));
    }
    if (!per_sign) continue;
    change.negatives.push_back(0);
    if (!moment.due[r]) continue;
    const double fraction = drop_fraction_at(rules_[r], moment.progress[r]);
    const std::int64_t negatives = active_negatives(*layers_[layer], r);
    const auto replica = static_cast<std::int64_t>(r);
    const std::int64_t others =
        layers_[layer]->active(replica) - layers_[layer]->held(replica) - negatives;
    change.negatives[r] = floor_count(fraction, negatives);
    change.count[r] = change.negatives[r] + floor_count(fraction, others);
    if (!excludes_dropped()) continue;
    change.count[r] = std::min(change.count[r], free_[layer][r]);
    change.negatives[r] = std::min(change.negatives[r], change.count[r]);
  }
  return change;
}

void TopologyUpdater::apply(const Operation& operation, const Criterion& chosen,
                            const UpdateMoment& moment, bool zero_dormant) {
  Counts counts = operation.whole_net ? whole_net_counts(operation, chosen, moment)
                                      : layer_counts(operation, moment);
  if (operation.kind == Kind::kGrow) redistribute(counts, moment);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    if (!changes(l)) continue;
    const TopologyChange change = change_of(operation, l, counts, moment);
    if (operation.kind == Kind::kRank) {
      layers_[l]->rank(change, chosen, zero_dormant);
    } else if (grows(operation.kind)) {
      layers_[l]->grow(change, chosen,
                       {rules_[0].newborn_sd, rules_[0].regrown == TopologyRule::Regrown::kKeep,
                        change.keys, rules_[0].newborn_stale});
    } else {
      layers_[l]->drop(change, chosen);
    }
    if (moves_share(operation.kind)) moved_[l] = change.count;
  }
  if (!moves_share(operation.kind)) return;
  const bool closes = opened_.has_value() && *opened_ != operation.kind;
  opened_ = closes ? std::nullopt : std::optional(operation.kind);
}

UpdateCounts TopologyUpdater::report(std::size_t layer, const UpdateMoment& moment) {
  UpdateCounts counts;
  counts.layer = layer;
  counts.before = std::move(before_[layer]);
  const std::vector<char> reported = reported_of(moment);
  counts.after = layers_[layer]->active_sets(reported);
  counts.nnz.assign(replicas(), 0);
  counts.dropped = counts.grown = counts.nnz;
  counts.mask_hash.resize(replicas());
  for_each_index(replicas(), host_threads(), [&](std::size_t r) {
    counts.nnz[r] = layers_[layer]->active(static_cast<std::int64_t>(r));
    if (!reported[r]) return;
    counts.dropped[r] = counts.before[r].count_without(counts.after[r]);
    counts.grown[r] = counts.after[r].count_without(counts.before[r]);
    counts.mask_hash[r] = counts.after[r].hash();
  });
  return counts;
}

void TopologyUpdater::accumulate(const at::Tensor& apply) {
  at::NoGradGuard no_grad;
  std::set<std::string> seen;
  for (const Criterion& rule : criteria_) {
    if (rule.accumulate == nullptr || !seen.insert(rule.name).second) continue;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (!changes(l)) continue;
      Parameter& parameter = layers_[l]->parameter();
      const auto segments = parameter.segments();
      std::map<std::string, at::Tensor> slots, kept;
      for (const std::string& name : rule.slots) {
        slots[name] = parameter.slot(name);
        kept[name] = slots[name].clone();
      }
      rule.accumulate(parameter.value.grad().reshape({-1}), slots);
      const at::Tensor applies = broadcast_to_segments(apply, parameter.segments());
      for (auto& [name, values] : slots) {
        values.copy_(torch::where(applies, values, kept.at(name)));
      }
    }
  }
}

}  // namespace tandem
