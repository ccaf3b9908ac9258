// Rules of budgets, granularities and the operations of topology updates.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "policy/criterion_facts.h"
#include "policy/rules.h"

namespace tandem {
namespace {

using OperationKind = TopologyOperation::Kind;
constexpr auto kRefusedTopology = Rule::Verdict::kRefused;
constexpr auto kOfTopology = Rule::Of::kPolicies;

bool has_quotas(const Granularity& granularity) {
  return granularity.kind == Granularity::Kind::kFanIn ||
         granularity.kind == Granularity::Kind::kNm;
}

std::string said_granularity(const RunFacts& f) {
  const Granularity& granularity = f.weights.start.granularity;
  if (granularity.kind == Granularity::Kind::kFanIn) return "--granularity fan_in";
  return fmt::format("--granularity n_m (--nm-n {}, --nm-m {})", granularity.n, granularity.m);
}

double share_of_groups(const Granularity& granularity) {
  return static_cast<double>(granularity.n) / static_cast<double>(granularity.m);
}

bool off_share(const RunFacts& f, double density) {
  const Granularity& granularity = f.weights.start.granularity;
  return granularity.kind == Granularity::Kind::kNm &&
         std::abs(density - share_of_groups(granularity)) > 1e-9;
}

template <class Condition>
bool any_operation(const RunFacts& f, Condition condition) {
  const auto& operations = f.weights.topology.operations;
  return std::any_of(operations.begin(), operations.end(), condition);
}

bool has_operation(const RunFacts& f, OperationKind kind) {
  return any_operation(f, [kind](const auto& each) { return each.kind == kind; });
}

bool ranks_whole_net(const RunFacts& f) {
  return any_operation(f, [](const auto& each) { return each.whole_net; });
}

bool redistributes(const RunFacts& f) {
  return f.weights.topology.redistribution != TopologyRule::Redistribution::kNone;
}

bool cubic(const TopologyRule& rule) {
  return rule.budget_schedule == TopologyRule::BudgetSchedule::kCubic;
}

// The criterion of an operation for which the condition holds, or "".
template <class Condition>
std::string criterion_where(const RunFacts& f, Condition condition) {
  for (const TopologyOperation& each : f.weights.topology.operations) {
    if (condition(each, criterion_facts(each.criterion))) return each.criterion;
  }
  return "";
}

bool draws_without_scores(const TopologyOperation& each, const CriterionFacts& facts) {
  return each.sampled && (!facts.scored || facts.per_sign);
}

bool leaves_its_layer(const TopologyOperation& each, const CriterionFacts& facts) {
  return each.whole_net && (each.sampled || facts.within_layer);
}

// What takes a share of each sign where it can't.
std::string misplaced_signs(const RunFacts& f) {
  bool grown = false;
  for (const TopologyOperation& each : f.weights.topology.operations) {
    const bool share = each.kind == OperationKind::kDrop && !each.whole_net && !grown;
    if (criterion_facts(each.criterion).per_sign && !share) return each.criterion;
    grown = grown || each.kind == OperationKind::kGrow || each.kind == OperationKind::kGrowTo;
  }
  return "";
}

// Growth that passes over what an update dropped is of single weights, within each layer, and as
// many as a drop of the same update.
bool excludes_more_than_single(const RunFacts& f) {
  const bool pairs = !any_operation(f, [](const auto& each) {
    const bool share = each.kind == OperationKind::kDrop || each.kind == OperationKind::kGrow;
    return each.kind == OperationKind::kGrowTo || (each.whole_net && share);
  });
  return f.weights.topology.regrown == TopologyRule::Regrown::kExclude &&
         (f.weights.start.granularity.kind != Granularity::Kind::kElement || !pairs ||
          redistributes(f));
}

bool reads_nothing_fresh(const RunFacts& f) {
  return f.weights.topology.fresh_batches > 0 && !any_operation(f, [](const auto& each) {
           const CriterionFacts facts = criterion_facts(each.criterion);
           return facts.gradient || facts.inputs;
         });
}

std::string fresh_sentence(const RunFacts& f) {
  std::vector<std::string> names, others;
  for (const auto& each : f.weights.topology.operations) names.push_back(each.criterion);
  for (const auto& [name, facts] : all_criterion_facts()) {
    if (facts.gradient || facts.inputs) others.push_back(name);
  }
  return fmt::format(
      "--growth-batches {}: an update would read gradients or inputs of batches of its own, and "
      "this method ranks by {}, which read neither in an update: give --growth-batches 0, or a "
      "method that ranks by one of {}",
      f.weights.topology.fresh_batches,
      names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, ", ")),
      fmt::join(others, ", "));
}

std::vector<Rule> budget_rules() {
  return {
      {"density_of_nothing", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return !(f.weights.start.density > 0); },
       [](const RunFacts& f) {
         return fmt::format(
             "--density {} is out of range: give the share of weights kept, above 0 and at most 1",
             f.weights.start.density);
       }},
      {"grows_to_density", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.initial_density > 0 &&
                f.weights.start.initial_density < f.weights.start.density;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--initial-density {} is below --density {}: the mask shrinks from the one to the "
             "other; give a larger one, or 0",
             f.weights.start.initial_density, f.weights.start.density);
       }},
      {"pruning_out_of_order", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         const TopologyRule& rule = f.weights.topology;
         return rule.begin > rule.end ||
                (cubic(rule) && (rule.budget_begin > rule.budget_end || rule.budget_end > 1));
       },
       [](const RunFacts& f) {
         const TopologyRule& rule = f.weights.topology;
         return fmt::format(
             "--prune-begin {:.6g} and --prune-end {:.6g}, in updates that end at {:.6g} of the "
             "run: they must follow each other in this order",
             std::lerp(rule.begin, rule.end, rule.budget_begin),
             std::lerp(rule.begin, rule.end, rule.budget_end), rule.end);
       }},
      {"no_room_to_regenerate", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return cubic(f.weights.topology) && f.weights.topology.end <= 0 &&
                has_operation(f, OperationKind::kDrop);
       },
       [](const RunFacts&) -> std::string {
         return "--update-end 0 leaves no update, and this method prunes by them: give more than 0";
       }},
      {"drop_final_above_first", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         const TopologyRule& rule = f.weights.topology;
         return rule.drop_schedule != TopologyRule::DropSchedule::kConstant &&
                (has_operation(f, OperationKind::kDrop) ||
                 has_operation(f, OperationKind::kGrowTo)) &&
                rule.drop_final > rule.drop_fraction;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--drop-final {} is above --drop-fraction {}: the share that updates drop falls from "
             "the one to the other; give at most {}",
             f.weights.topology.drop_final, f.weights.topology.drop_fraction,
             f.weights.topology.drop_fraction);
       }},
      {"soft_bound_that_stays", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         const TopologyRule& rule = f.weights.topology;
         return has_operation(f, OperationKind::kGrowTo) &&
                (rule.drop_schedule == TopologyRule::DropSchedule::kConstant ||
                 rule.drop_final > 0);
       },
       [](const RunFacts&) -> std::string {
         return "--mest-order soft_bound grows beyond the budget by a share that must end at 0: "
                "give --drop-schedule steps, linear or cosine, and --drop-final 0";
       }},
  };
}

std::vector<Rule> quota_rules() {
  return {
      {"n_above_m", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.granularity.n > f.weights.start.granularity.m;
       },
       [](const RunFacts& f) {
         const Granularity& granularity = f.weights.start.granularity;
         return fmt::format("--nm-n {} of --nm-m {} inputs: give at most {}", granularity.n,
                            granularity.m, granularity.m);
       }},
      {"density_of_groups", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return off_share(f, f.weights.start.density); },
       [](const RunFacts& f) {
         const double share = share_of_groups(f.weights.start.granularity);
         return fmt::format(
             "--density {} with {}, which keeps {} of the weights: give --density {}",
             f.weights.start.density, said_granularity(f), share, share);
       }},
      {"first_density_of_groups", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return off_share(f, f.weights.start.first_density()); },
       [](const RunFacts& f) {
         return fmt::format(
             "{} keeps {} of the weights at every step, and this method starts at density {}: give "
             "it a start at that density, or another granularity",
             said_granularity(f), share_of_groups(f.weights.start.granularity),
             f.weights.start.first_density());
       }},
      {"quotas_of_the_net", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return has_quotas(f.weights.start.granularity) && ranks_whole_net(f);
       },
       [](const RunFacts& f) {
         return said_granularity(f) +
                " gives each layer quotas of its own, and this method ranks the whole net: give "
                "--granularity element or block, or a method that ranks within layers";
       }},
      {"quotas_beyond_budget", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return has_quotas(f.weights.start.granularity) && has_operation(f, OperationKind::kGrowTo);
       },
       [](const RunFacts& f) {
         return said_granularity(f) +
                " keeps its quotas at every step, and this method holds more weights than its "
                "budget for a while: give --granularity element or block";
       }},
      {"groups_pruned", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.granularity.kind == Granularity::Kind::kNm &&
                has_operation(f, OperationKind::kPruneTo);
       },
       [](const RunFacts& f) {
         return said_granularity(f) +
                " has one density, and this method prunes step by step: give --granularity fan_in, "
                "block or element";
       }},
      {"quotas_redistributed", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return has_quotas(f.weights.start.granularity) && redistributes(f);
       },
       [](const RunFacts& f) {
         return said_granularity(f) +
                " gives each layer quotas of its own, and this method moves connections between "
                "layers: give --granularity element or block";
       }},
      {"ablation_without_fan_in", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.granularity.ablation > 0 &&
                f.weights.start.granularity.kind != Granularity::Kind::kFanIn;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--ablation {} takes all inputs of a unit and gives them to the others of its layer: "
             "give --granularity fan_in, or --ablation 0",
             f.weights.start.granularity.ablation);
       }},
  };
}

std::vector<Rule> operation_rules() {
  return {
      {"blocks_drawn", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.granularity.kind == Granularity::Kind::kBlock &&
                any_operation(f, [](const auto& each) { return each.sampled; });
       },
       [](const RunFacts&) -> std::string {
         return "--granularity block: this method draws single weights in proportion to their "
                "scores: take them in order, or give --granularity element";
       }},
      {"blocks_of_signs", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) {
         return f.weights.start.granularity.kind == Granularity::Kind::kBlock &&
                any_operation(
                    f, [](const auto& each) { return criterion_facts(each.criterion).per_sign; });
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--granularity block: a block has weights of both signs, and drop_rule {} takes a "
             "share of each: give --drop-rule magnitude",
             criterion_where(f, [](const auto&, const auto& facts) { return facts.per_sign; }));
       }},
      {"dropped_groups_excluded", kRefusedTopology, kOfTopology, excludes_more_than_single,
       [](const RunFacts&) -> std::string {
         return "--regrow-dropped exclude passes over single weights of a layer that an update "
                "drops, and this run chooses groups, moves connections between layers or grows "
                "beyond its budget: give --regrow-dropped keep or zero";
       }},
      {"signs_misplaced", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return !misplaced_signs(f).empty(); },
       [](const RunFacts& f) {
         return fmt::format(
             "criterion '{}' takes a share of each sign: it can be that of a drop within layers "
             "that comes before any growth, and nothing else",
             misplaced_signs(f));
       }},
      {"draw_without_scores", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return !criterion_where(f, draws_without_scores).empty(); },
       [](const RunFacts& f) {
         return fmt::format(
             "criterion '{}' has no scores to draw in proportion to: take it in order, or give one "
             "that has, such as magnitude",
             criterion_where(f, draws_without_scores));
       }},
      {"net_ranked_by_layers", kRefusedTopology, kOfTopology,
       [](const RunFacts& f) { return !criterion_where(f, leaves_its_layer).empty(); },
       [](const RunFacts& f) {
         const std::string name = criterion_where(f, leaves_its_layer);
         const bool drawn = criterion_facts(name).within_layer;
         return fmt::format(
             "criterion '{}'{} chooses within a layer, and this operation ranks the whole net: "
             "rank within layers",
             name, drawn ? "" : ", drawn from,");
       }},
      {"fresh_batches_unread", kRefusedTopology, kOfTopology, reads_nothing_fresh, fresh_sentence},
  };
}

}  // namespace

std::vector<Rule> topology_rules() {
  std::vector<Rule> all;
  for (const auto& part : {budget_rules(), quota_rules(), operation_rules()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace tandem
