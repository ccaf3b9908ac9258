#include "methods/fill.h"

#include <algorithm>

#include "core/error.h"
#include "methods/granularity.h"
#include "methods/superset.h"

namespace tandem {

namespace {

template <class T>
T pick(const Config& config, const std::string& option,
       std::initializer_list<std::pair<const char*, T>> names) {
  const std::string& value = config.text(option);
  for (const auto& [name, result] : names) {
    if (value == name) return result;
  }
  throw ConfigError("--" + option + " is '" + value + "', which this method can't take");
}

std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  std::size_t begin = 0;
  while (begin <= text.size() && !text.empty()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) names.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

}  // namespace

Start start_of(const Config& config, Start::Pattern pattern) {
  Start start;
  start.pattern = pattern;
  start.drawn = pattern == Start::Pattern::kRandom;
  // The weights of a net that is given say something before they are trained.
  if (start.drawn && config.text("init_mask") == "magnitude") {
    start.pattern = Start::Pattern::kMagnitude;
  }
  start.budget = pick<Start::Budget>(config, "budget",
                                     {{"uniform", Start::Budget::kUniform},
                                      {"er", Start::Budget::kEr},
                                      {"erk", Start::Budget::kErk}});
  start.init_scale = pick<Start::InitScale>(config, "init_scale",
                                            {{"dense", Start::InitScale::kDense},
                                             {"fan_in", Start::InitScale::kFanIn},
                                             {"density", Start::InitScale::kDensity}});
  start.density = config.real("density");
  start.exempt = split_names(config.text("exempt"));
  start.granularity = granularity_of(config);
  return start;
}

TopologyRule drop_and_grow(const Config& config, const std::string& drop, const std::string& grow) {
  using Kind = TopologyOperation::Kind;
  TopologyRule rule;
  rule.operations = {{Kind::kDrop, drop, false}, {Kind::kGrow, grow, false}};
  rule.interval_steps = config.integer("update_interval");
  rule.interval_epochs = config.real("update_interval_epochs");
  rule.end = config.real("update_end");
  rule.drop_fraction = config.real("drop_fraction");
  // What moves nothing at first never does.
  rule.drop_final = rule.drop_fraction > 0 ? config.real("drop_final") : 0;
  rule.drop_schedule =
      pick<TopologyRule::DropSchedule>(config, "drop_schedule",
                                       {{"constant", TopologyRule::DropSchedule::kConstant},
                                        {"cosine", TopologyRule::DropSchedule::kCosine},
                                        {"linear", TopologyRule::DropSchedule::kLinear},
                                        {"steps", TopologyRule::DropSchedule::kSteps}});
  rule.order =
      pick<TopologyRule::Order>(config, "update_order",
                                {{"step_then_update", TopologyRule::Order::kStepThenUpdate},
                                 {"update_instead", TopologyRule::Order::kUpdateInsteadOfStep}});
  rule.regrown = pick<TopologyRule::Regrown>(config, "regrow_dropped",
                                             {{"keep", TopologyRule::Regrown::kKeep},
                                              {"zero", TopologyRule::Regrown::kZero},
                                              {"exclude", TopologyRule::Regrown::kExclude}});
  rule.newborn_sd = config.text("grow_init") == "normal" ? 0.1 : 0.0;
  rule.newborn_stale = config.text("grow_init") == "stale";
  rule.empties_slots = config.text("update_slots") == "all";
  rule.fresh_batches = config.integer("growth_batches");
  return rule;
}

std::vector<std::string> drop_and_grow_options(std::vector<std::string> more) {
  std::vector<std::string> names = {"drop_fraction",          "drop_schedule", "update_interval",
                                    "update_interval_epochs", "update_end",    "update_order",
                                    "regrow_dropped",         "grow_init",     "drop_final",
                                    "growth_batches",         "update_slots",  "dormant_value"};
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

Policies rigl_weights(const Config& config) {
  Policies policies = sparse_with_zero_dormant(config, Start::Pattern::kRandom);
  policies.topology = drop_and_grow(config, "magnitude", "gradient");
  return policies;
}

std::vector<std::pair<std::string, std::string>> rigl_defaults() {
  return {{"drop_fraction", "0.3"}, {"drop_schedule", "cosine"},        {"update_interval", "100"},
          {"update_end", "0.75"},   {"update_order", "update_instead"}, {"regrow_dropped", "keep"},
          {"grow_init", "zero"}};
}

Policies shrinking_weights(const Config& config) {
  const double initial = config.real("initial_density");
  Policies policies = sparse_with_zero_dormant(
      config, initial > 0 ? Start::Pattern::kRandom : Start::Pattern::kDense);
  policies.start.initial_density = initial;
  return policies;
}

TopologyRule pruned_to_budget(const Config& config) {
  TopologyRule rule;
  rule.operations = {{TopologyOperation::Kind::kPruneTo, config.text("mask_source"),
                      config.text("prune_scope") == "net"}};
  rule.budget_schedule = TopologyRule::BudgetSchedule::kCubic;
  rule.begin = config.real("prune_begin");
  rule.end = config.real("prune_end");
  rule.fresh_batches = config.integer("growth_batches");
  return rule;
}

TopologyRule refreshed_mask(const Config& config) {
  TopologyRule rule;
  rule.operations = {{TopologyOperation::Kind::kRank, config.text("mask_source")}};
  rule.interval_steps = config.integer("refresh_interval");
  rule.fresh_batches = config.integer("growth_batches");
  rule.end = config.real("refresh_end");
  if (config.real("initial_density") > 0) {
    rule.budget_schedule = TopologyRule::BudgetSchedule::kCubic;
  }
  return rule;
}

std::vector<std::string> refreshed_mask_options(std::vector<std::string> more) {
  std::vector<std::string> names = {"refresh_interval", "refresh_end", "mask_source",
                                    "growth_batches", "initial_density"};
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

Start refreshed_start(const Config& config) {
  Start start = start_of(config, Start::Pattern::kMagnitude);
  start.initial_density = config.real("initial_density");
  return start;
}

Schedule drawn_streams(const Config& config, const std::string& prefix) {
  Schedule schedule;
  schedule.kind = Schedule::Kind::kBernoulli;
  schedule.p = config.real(prefix + "_p");
  schedule.p_final = config.real(prefix + "_p_final");
  schedule.shape = pick<Schedule::Shape>(config, prefix + "_p_schedule",
                                         {{"constant", Schedule::Shape::kConstant},
                                          {"linear", Schedule::Shape::kLinear},
                                          {"cosine", Schedule::Shape::kCosine}});
  schedule.draw = pick<Schedule::Draw>(config, prefix + "_draw",
                                       {{"step", Schedule::Draw::kStep},
                                        {"layer", Schedule::Draw::kLayer},
                                        {"turns", Schedule::Draw::kStep}});
  if (config.text(prefix + "_draw") == "turns") schedule.kind = Schedule::Kind::kTurns;
  schedule.draw_steps = config.integer(prefix + "_draw_steps");
  return schedule;
}

std::vector<std::string> drawn_streams_options(const std::string& prefix) {
  return {prefix + "_p", prefix + "_p_schedule", prefix + "_p_final", prefix + "_draw",
          prefix + "_draw_steps"};
}

void steer_alignment(const Config& config, const std::string& prefix, Alignment& alignment) {
  alignment.every_steps = config.integer(prefix + "_align_every");
  alignment.shuffled = config.flag(prefix + "_shuffle_target");
  alignment.gap_target = config.real(prefix + "_gap_target");
  alignment.gap_rate = config.real(prefix + "_gap_rate");
}

std::vector<std::string> steer_alignment_options(const std::string& prefix) {
  return {prefix + "_align_every", prefix + "_shuffle_target", prefix + "_gap_target",
          prefix + "_gap_rate"};
}

Alignment alignment_of(const Config& config, const std::string& prefix) {
  using Distance = Alignment::Distance;
  Alignment alignment;
  alignment.alpha = config.real(prefix + "_alpha");
  alignment.alpha_warmup_steps = config.integer(prefix + "_alpha_warmup");
  alignment.lambda_full = config.real(prefix + "_lambda_full");
  alignment.lambda_sparse = config.real(prefix + "_lambda_sparse");
  alignment.distance = pick<Distance>(config, prefix + "_distance",
                                      {{"smooth_l1", Distance::kSmoothL1},
                                       {"mse", Distance::kMse},
                                       {"relative_mse", Distance::kRelativeMse},
                                       {"cosine", Distance::kCosine},
                                       {"logit_kl", Distance::kLogitKl}});
  steer_alignment(config, prefix, alignment);
  if (prefix == "attention") {
    alignment.site =
        config.flag("attention_gate_in_loss") ? Alignment::Site::kPost : Alignment::Site::kPre;
    return alignment;
  }
  alignment.site = pick<Alignment::Site>(config, "weights_site",
                                         {{"pre", Alignment::Site::kPre},
                                          {"norm", Alignment::Site::kNorm},
                                          {"post", Alignment::Site::kPost},
                                          {"logits", Alignment::Site::kLogits}});
  alignment.propagated = config.text("weights_counterpart") == "propagated";
  return alignment;
}

Policies sparse_with_zero_dormant(const Config& config, Start::Pattern pattern) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kMask, Support::kMask};
  const bool holds = config.text("dormant_value") == "hold";
  policies.dormant.kind = holds ? Dormant::Kind::kHold : Dormant::Kind::kZero;
  policies.start = start_of(config, pattern);
  return policies;
}

std::vector<std::string> phased_weights_options() {
  return {"phases", "prune_scope", "last_phase_lr", "mask_source", "growth_batches"};
}

Policies phased_weights(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kPhases;
  policies.schedule.phases = config.reals("phases");
  policies.schedule.last_phase_lr = config.real("last_phase_lr");
  policies.sets = {Support::kStream, Support::kStream};
  policies.dormant.kind = Dormant::Kind::kHold;
  policies.dormant.zeroed_by_phases = true;
  policies.topology.operations = {{TopologyOperation::Kind::kRank, config.text("mask_source"),
                                   config.text("prune_scope") == "net"}};
  policies.topology.at_phases = true;
  policies.topology.fresh_batches = config.integer("growth_batches");
  policies.start = start_of(config, Start::Pattern::kMagnitude);
  return policies;
}

namespace {

// The full stream computes with B alone, and what is outside of it stands still.
void within_superset(const Config& config, Sets& sets) {
  set_superset(config, config.real("superset_density"), sets);
  if (sets.superset == 0) return;
  sets.superset_random = config.flag("superset_random");
  sets.full_in_superset = true;
  sets.update = Support::kSuperset;
}

}  // namespace

std::vector<std::string> alternating_weights_options() {
  std::vector<std::string> names = refreshed_mask_options(drawn_streams_options("weights"));
  for (const char* name :
       {"superset_density", "superset_random", "superset_outside", "weights_nested",
        "dormant_decay", "dormant_decay_when", "dormant_decay_lr_scaled"}) {
    names.push_back(name);
  }
  return names;
}

Policies alternating_weights(const Config& config) {
  Policies policies;
  policies.schedule = drawn_streams(config, "weights");
  policies.sets = {Support::kStream, Support::kAll};
  within_superset(config, policies.sets);
  policies.dormant.eta = config.real("dormant_decay");
  policies.dormant.kind =
      policies.dormant.eta > 0 ? Dormant::Kind::kDecay : Dormant::Kind::kTrained;
  policies.dormant.sparse_steps_only = config.text("dormant_decay_when") == "sparse";
  policies.dormant.scaled_by_lr = config.flag("dormant_decay_lr_scaled");
  policies.topology = refreshed_mask(config);
  policies.start = refreshed_start(config);
  policies.sets.nested = config.reals("weights_nested");
  return policies;
}

}  // namespace tandem
