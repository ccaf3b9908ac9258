#include "plan/plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "config/seeds.h"
#include "core/error.h"
#include "core/philox.h"
#include "data/sampler.h"

namespace tandem {

std::int64_t Timeline::total() const {
  return std::accumulate(task_steps.begin(), task_steps.end(), std::int64_t{0});
}

std::int64_t Timeline::before(std::int64_t stage) const {
  return std::accumulate(task_steps.begin(), task_steps.begin() + stage, std::int64_t{0});
}

Timeline make_timeline(const Config& config, const std::vector<std::int64_t>& examples,
                       std::int64_t tasks_in_stage) {
  Timeline timeline;
  const std::int64_t batch = config.integer("batch");
  const bool online = config.flag("online");  // one pass, whatever steps and epochs say
  const std::int64_t steps = online ? 0 : config.integer("steps") * tasks_in_stage;
  const double epochs = online ? 1.0 : config.real("epochs");
  for (const std::int64_t n : examples) {
    const std::int64_t per_epoch =
        std::max<std::int64_t>(1, EpochSampler::epoch_steps(n, batch, config.flag("drop_last")));
    timeline.steps_per_epoch.push_back(per_epoch);
    timeline.task_steps.push_back(
        steps > 0
            ? steps
            : std::max<std::int64_t>(1, std::llround(epochs * static_cast<double>(per_epoch))));
  }
  return timeline;
}

LearningRate::LearningRate(const Config& config)
    : kind_(config.text("lr_schedule") == "step"     ? Kind::kStep
            : config.text("lr_schedule") == "cosine" ? Kind::kCosine
                                                     : Kind::kConstant),
      base_(config.real("lr")),
      final_(config.real("lr_final") > 0 ? config.real("lr_final")
                                         : config.real("lr_end") * config.real("lr")),
      factor_(config.real("lr_step_factor")),
      warmup_(config.integer("warmup_steps")),
      step_at_(config.reals("lr_step_at")),
      of_task_(config.reals("task_lr")) {
  if (of_task_.empty()) of_task_ = {1};
}

double LearningRate::at(std::int64_t stage, std::int64_t step, std::int64_t steps) const {
  const auto last = static_cast<std::int64_t>(of_task_.size()) - 1;
  return of_task_[static_cast<std::size_t>(std::min(stage, last))] * in_task(step, steps);
}

double LearningRate::in_task(std::int64_t step, std::int64_t steps) const {
  if (step < warmup_) return base_ * static_cast<double>(step + 1) / static_cast<double>(warmup_);
  if (kind_ == Kind::kStep) {
    const double progress =
        static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, steps));
    double now = base_;
    for (const double at : step_at_) {
      if (progress >= at) now *= factor_;
    }
    return now;
  }
  if (kind_ == Kind::kCosine) {
    const double span = static_cast<double>(std::max<std::int64_t>(1, steps - warmup_));
    const double t = static_cast<double>(step - warmup_) / span;
    return final_ + (base_ - final_) / 2 * (1 + std::cos(std::numbers::pi * t));
  }
  return base_;
}

namespace {

std::uint64_t draws_key(const Config& config, Level level) {
  return stream_key(run_seed(config, "streams"), "streams/" + level_name(level));
}

}  // namespace

RunSchedule::RunSchedule(Config resolved, PerLevel<Policies> of_levels, Timeline lengths)
    : config(std::move(resolved)),
      policies(std::move(of_levels)),
      timeline(std::move(lengths)),
      rate(config) {
  for (const Level level : kLevels) {
    demands[level] = demands_of(policies[level]);
    draw_keys[level] = draws_key(config, level);
  }
}

double full_probability(const Schedule& schedule, std::int64_t step, std::int64_t total) {
  if (schedule.shape == Schedule::Shape::kConstant) return schedule.p;
  const double t = total > 1 ? static_cast<double>(step) / static_cast<double>(total - 1) : 0.0;
  const double rest =
      schedule.shape == Schedule::Shape::kLinear ? 1 - t : (1 + std::cos(std::numbers::pi * t)) / 2;
  return schedule.p_final + (schedule.p - schedule.p_final) * rest;
}

namespace {

bool draws_full(const Schedule& schedule, std::uint64_t key, std::int64_t step,
                std::int64_t total) {
  const std::int64_t draw = step / schedule.draw_steps;
  const double p = full_probability(schedule, draw * schedule.draw_steps, total);
  return RandomStream{key}.uniform(static_cast<std::uint64_t>(draw)) < p;
}

// One bit per layer, each from a stream of its own.
std::uint64_t layer_draws(const Schedule& schedule, std::uint64_t key, std::int64_t step,
                          std::int64_t total) {
  std::uint64_t bits = 0;
  for (std::uint64_t layer = 0; layer < kMostDrawingLayers; ++layer) {
    const bool full = draws_full(schedule, sub_key(key, layer), step, total);
    bits |= static_cast<std::uint64_t>(full) << layer;
  }
  return bits;
}

// Returns the phase, from 0, that a step lies in in a run of so many steps; even phases are full.
std::size_t phase_of(const Schedule& schedule, std::int64_t step, std::int64_t total) {
  std::size_t phase = 0;
  for (const double share : schedule.phases) {
    phase += step >= std::llround(share * static_cast<double>(total));
  }
  return phase;
}

bool full_runs(const Schedule& schedule, std::uint64_t key, std::int64_t step, std::int64_t total) {
  switch (schedule.kind) {
    case Schedule::Kind::kFull:
    case Schedule::Kind::kBoth:
      return true;
    case Schedule::Kind::kSparse:
      return false;
    case Schedule::Kind::kTurns:
      return step / schedule.draw_steps % 2 == 0;
    case Schedule::Kind::kPhases:
      return phase_of(schedule, step, total) % 2 == 0;
    case Schedule::Kind::kBernoulli:
      return schedule.draw == Schedule::Draw::kStep && draws_full(schedule, key, step, total);
  }
  return true;
}

// Keyed beside the layers' own draws.
std::int64_t nested_draw(const RunSchedule& run, std::int64_t step) {
  const std::size_t masks = run.policies.weights.sets.nested.size();
  if (masks < 2) return 0;
  const RandomStream stream{sub_key(run.draw_keys.weights, kMostDrawingLayers)};
  return static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(step), masks));
}

double alpha_at(const Alignment& alignment, std::int64_t step) {
  if (alignment.alpha <= 0 || step % alignment.every_steps != 0) return 0;
  if (step >= alignment.alpha_warmup_steps) return alignment.alpha;
  return alignment.alpha * static_cast<double>(step + 1) /
         static_cast<double>(alignment.alpha_warmup_steps);
}

void plan_phase(const RunSchedule& run, ReplicaPlan& plan) {
  const Schedule& schedule = run.policies.weights.schedule;
  if (schedule.kind != Schedule::Kind::kPhases) return;
  const std::int64_t total = run.timeline.total();
  const std::size_t now = phase_of(schedule, plan.step, total);
  const std::size_t next = phase_of(schedule, plan.step + 1, total);
  if (now == schedule.phases.size()) plan.lr *= schedule.last_phase_lr;
  if (next == now || plan.step + 1 == total) return;
  (next % 2 == 0 ? plan.enters_full : plan.enters_sparse) = true;
  plan.update_after = true;
  plan.topology_progress = 1;
}

constexpr std::int64_t kLoggedWindow = 100;  // steps, where masks are chosen anew at each of them

// Steps from one update of a stage to the next.
std::int64_t interval_in(const RunSchedule& run, std::size_t stage) {
  const TopologyRule& rule = run.policies.weights.topology;
  if (rule.interval_epochs <= 0) return rule.interval_steps;
  const auto per_epoch = static_cast<double>(run.timeline.steps_per_epoch[stage]);
  return std::max<std::int64_t>(1, std::llround(rule.interval_epochs * per_epoch));
}

// A budget that moves must be reached even where the interval does not divide the rule's end.
bool must_end_at_budget(const TopologyRule& rule) {
  return rule.budget_schedule == TopologyRule::BudgetSchedule::kCubic ||
         std::any_of(rule.operations.begin(), rule.operations.end(), [](const auto& operation) {
           return operation.kind == TopologyOperation::Kind::kGrowTo;
         });
}

// Where in the rule's span its budget is reached.
double budget_end(const TopologyRule& rule) {
  return rule.budget_schedule == TopologyRule::BudgetSchedule::kCubic ? rule.budget_end : 1.0;
}

// Completed steps where the budget must be reached; where an update takes a step's place, at the
// last step at the latest.
std::int64_t last_update(const RunSchedule& run) {
  const TopologyRule& rule = run.policies.weights.topology;
  const std::int64_t total = run.timeline.total();
  const bool instead = rule.order == TopologyRule::Order::kUpdateInsteadOfStep;
  const double share = std::lerp(rule.begin, rule.end, budget_end(rule));
  const std::int64_t end = std::llround(std::ceil(share * static_cast<double>(total)));
  return std::max<std::int64_t>(1, std::min(end, total - instead));
}

// Whether the run has an update after that of so many completed steps.
bool update_follows(const RunSchedule& run, std::int64_t stage, std::int64_t completed) {
  const TopologyRule& rule = run.policies.weights.topology;
  const std::int64_t total = run.timeline.total();
  if (must_end_at_budget(rule) && completed < last_update(run)) return true;
  const std::int64_t instead = rule.order == TopologyRule::Order::kUpdateInsteadOfStep;
  const double end = rule.end * static_cast<double>(total);
  const auto due = [&](std::int64_t at) { return static_cast<double>(at) <= end && at < total; };
  if (rule.interval_epochs <= 0) return due(completed + rule.interval_steps);
  for (auto s = static_cast<std::size_t>(stage); s < run.timeline.task_steps.size(); ++s) {
    const std::int64_t before = run.timeline.before(static_cast<std::int64_t>(s));
    const std::int64_t own = std::max<std::int64_t>(completed - before, 0) + interval_in(run, s);
    if (own + instead <= run.timeline.task_steps[s]) return due(before + own);
  }
  return false;
}

// The first update of each window of steps, counted as the interval is, and the last of the run.
bool logs_update(const RunSchedule& run, std::int64_t stage, std::int64_t completed,
                 std::int64_t counted) {
  const std::int64_t interval = interval_in(run, static_cast<std::size_t>(stage));
  std::int64_t window = run.config.integer("topology_log_steps");
  if (window == 0) window = interval == 1 ? kLoggedWindow : 1;
  const double begin =
      run.policies.weights.topology.begin * static_cast<double>(run.timeline.total());
  const std::int64_t previous = counted - interval;
  const bool first = previous <= 0 || static_cast<double>(completed - interval) < begin;
  return first || counted / window != previous / window || !update_follows(run, stage, completed);
}

// Completed steps after which an update is due, and how far its schedule has come.
void plan_update(const RunSchedule& run, std::int64_t stage, ReplicaPlan& plan) {
  const TopologyRule& rule = run.policies.weights.topology;
  if (rule.operations.empty() || rule.at_phases) return;
  const auto total = static_cast<double>(run.timeline.total());
  const double begin = rule.begin * total, end = rule.end * total;
  const std::int64_t interval = interval_in(run, static_cast<std::size_t>(stage));
  if (interval < 1) return;
  const bool instead = rule.order == TopologyRule::Order::kUpdateInsteadOfStep;
  const std::int64_t completed = instead ? plan.step : plan.step + 1;
  const auto at = static_cast<double>(completed);
  // An interval in epochs counts the stage's own steps, so that it ends with its epochs.
  const std::int64_t counted =
      rule.interval_epochs > 0 ? completed - run.timeline.before(stage) : completed;
  const bool due = counted > 0 && counted % interval == 0 && at >= begin && at <= end && at < total;
  const bool last_prune = must_end_at_budget(rule) && completed == last_update(run);
  if (!due && !last_prune) return;
  (instead ? plan.update_instead : plan.update_after) = true;
  const bool moves = end > begin && !last_prune;
  plan.topology_progress = moves ? (at - begin) / (end - begin) : budget_end(rule);
  plan.logged = last_prune || logs_update(run, stage, completed, counted);
}

}  // namespace

ReplicaPlan plan_replica(const RunSchedule& run, std::int64_t stage, std::int64_t in_stage) {
  ReplicaPlan plan;
  const std::int64_t own = run.timeline.task_steps[static_cast<std::size_t>(stage)];
  plan.runs = in_stage < own;
  plan.step = run.timeline.before(stage) + std::min(in_stage, own);
  if (!plan.runs) return plan;
  plan.lr = run.rate.at(stage, in_stage, own);
  const std::int64_t total = run.timeline.total();
  for (const Level level : kLevels) {
    const Policies& policies = run.policies[level];
    const Schedule& schedule = policies.schedule;
    LevelStep& now = plan.levels[level];
    now.full = full_runs(schedule, run.draw_keys[level], plan.step, total);
    now.alpha = alpha_at(policies.alignment, plan.step);
    if (schedule.draws_per_layer()) {
      now.full_layers = layer_draws(schedule, run.draw_keys[level], plan.step, total);
    }
  }
  plan.nested = nested_draw(run, plan.step);
  plan_phase(run, plan);
  plan_update(run, stage, plan);
  return plan;
}

bool in_full_phase(const RunSchedule& run, std::int64_t steps) {
  const Schedule& schedule = run.policies.weights.schedule;
  if (schedule.kind != Schedule::Kind::kPhases) return false;
  const std::int64_t total = run.timeline.total();
  const std::size_t now = phase_of(schedule, std::max<std::int64_t>(0, steps - 1), total);
  const std::size_t next = steps < total ? phase_of(schedule, steps, total) : now;
  return now % 2 == 0 && next % 2 == 0;
}

bool any_updates(const std::vector<ReplicaPlan>& plans) {
  return std::any_of(plans.begin(), plans.end(),
                     [](const ReplicaPlan& plan) { return plan.updates(); });
}

}  // namespace tandem
