#include "methods/fill.h"

#include "core/error.h"

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
  rule.drop_schedule =
      pick<TopologyRule::DropSchedule>(config, "drop_schedule",
                                       {{"constant", TopologyRule::DropSchedule::kConstant},
                                        {"cosine", TopologyRule::DropSchedule::kCosine},
                                        {"linear", TopologyRule::DropSchedule::kLinear}});
  rule.order =
      pick<TopologyRule::Order>(config, "update_order",
                                {{"step_then_update", TopologyRule::Order::kStepThenUpdate},
                                 {"update_instead", TopologyRule::Order::kUpdateInsteadOfStep}});
  rule.regrown = pick<TopologyRule::Regrown>(
      config, "regrow_dropped",
      {{"keep", TopologyRule::Regrown::kKeep}, {"zero", TopologyRule::Regrown::kZero}});
  rule.newborn_sd = config.text("grow_init") == "normal" ? 0.1 : 0.0;
  return rule;
}

std::vector<std::string> drop_and_grow_options() {
  return {"drop_fraction", "drop_schedule", "update_interval", "update_interval_epochs",
          "update_end",    "update_order",  "regrow_dropped",  "grow_init"};
}

TopologyRule refreshed_by_magnitude(const Config& config) {
  TopologyRule rule;
  rule.operations = {{TopologyOperation::Kind::kRank, "magnitude", false}};
  rule.interval_steps = config.integer("refresh_interval");
  return rule;
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
                                       {"logit_kl", Distance::kLogitKl}});
  if (prefix == "attention") {
    alignment.site =
        config.flag("attention_gate_in_loss") ? Alignment::Site::kPost : Alignment::Site::kPre;
    return alignment;
  }
  alignment.site = pick<Alignment::Site>(config, "weights_site",
                                         {{"pre", Alignment::Site::kPre},
                                          {"post", Alignment::Site::kPost},
                                          {"logits", Alignment::Site::kLogits}});
  alignment.propagated = config.text("weights_counterpart") == "propagated";
  if (alignment.site == Alignment::Site::kLogits && !alignment.propagated) {
    throw ConfigError(
        "--weights-site logits aligns the outputs of two networks and needs "
        "--weights-counterpart propagated");
  }
  if (alignment.distance == Distance::kLogitKl && alignment.site != Alignment::Site::kLogits) {
    throw ConfigError(
        "--weights-distance logit_kl compares distributions over classes and needs "
        "--weights-site logits");
  }
  return alignment;
}

Policies sparse_with_zero_dormant(const Config& config, Start::Pattern pattern) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kMask, Support::kMask};
  policies.dormant.kind = Dormant::Kind::kZero;
  policies.start = start_of(config, pattern);
  return policies;
}

Policies alternating_weights(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kBernoulli;
  policies.schedule.p = config.real("weights_p");
  policies.sets = {Support::kStream, Support::kAll};
  policies.dormant.eta = config.real("dormant_decay");
  policies.dormant.kind =
      policies.dormant.eta > 0 ? Dormant::Kind::kDecay : Dormant::Kind::kTrained;
  policies.dormant.sparse_steps_only = config.text("dormant_decay_when") == "sparse";
  policies.dormant.scaled_by_lr = config.flag("dormant_decay_lr_scaled");
  policies.topology = refreshed_by_magnitude(config);
  policies.start = start_of(config, Start::Pattern::kMagnitude);
  return policies;
}

}  // namespace tandem
