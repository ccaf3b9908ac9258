#include "plan/match.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>

#include "config/option.h"
#include "methods/method.h"
#include "policy/rules.h"
#include "topology/nested_masks.h"

namespace tandem {
namespace {

constexpr int kMostStretches = 8;
constexpr double kCloseEnough = 1e-4;  // of the operations asked for

std::int64_t times(std::int64_t count, double factor) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(count) * factor));
}

std::vector<LayerShape> shapes_of(Model& model, const std::vector<std::string>& exempt) {
  std::vector<LayerShape> shapes;
  for (const Linear* layer : model.linears()) {
    const bool is_exempt = std::count(exempt.begin(), exempt.end(), layer->name()) != 0;
    shapes.push_back({layer->name(), layer->inputs(), layer->outputs(), is_exempt});
  }
  return shapes;
}

// What the forward passes of a run cost, before it has connections to count.
class ForwardCosts {
 public:
  ForwardCosts(Model& model, const RunSchedule& run, double rows)
      : start_(run.policies.weights.start),
        shapes_(shapes_of(model, start_.exempt)),
        nested_(run.policies.weights.sets.nested),
        rows_(rows),
        products_(model.dense_products()) {
    const auto blocks = static_cast<double>(run.config.integer("blocks"));
    flops_.levels.attention = {model.attention_flops(true, blocks),
                               model.attention_flops(false, blocks)};
    flops_.attention_layers = model.sites(Level::kAttention);
    const double superset = run.policies.weights.sets.superset;
    const auto inside =
        superset > 0 ? spread_budget(shapes_, superset, start_.budget) : std::vector<LayerBudget>();
    flops_.levels.weights.full = flops_.superset = 2 * rows_ * products_;
    for (std::size_t l = 0; l < shapes_.size(); ++l) {
      const std::int64_t all = shapes_[l].positions();
      const double full = operations(all),
                   own = operations(inside.empty() ? all : inside[l].active);
      flops_.layers.push_back({full, full, own});
      flops_.levels.weights.full += full;
      flops_.superset += own;
    }
    flops_.nested.resize(nested_.size());
    const std::vector<ForwardFlops::Layer> layers = flops_.layers;
    for (std::size_t i = 1; i < nested_.size(); ++i) {
      flops_.layers.insert(flops_.layers.end(), layers.begin(), layers.end());
    }
    prune_to(start_.pattern == Start::Pattern::kDense ? 1 : start_.first_density());
  }

  // Masks of this density from now on, and of this share of their weights more.
  void prune_to(double density, double extra = 0) {
    if (density == density_ && extra == extra_) return;
    density_ = density;
    extra_ = extra;
    std::vector<std::int64_t> active;
    for (const LayerShape& shape : shapes_) active.push_back(shape.positions());
    if (density < 1) {
      const auto budgets = spread_budget(shapes_, start_, density);
      for (std::size_t l = 0; l < shapes_.size(); ++l) {
        const std::int64_t more = shapes_[l].exempt ? 0 : floor_count(extra, budgets[l].active);
        active[l] = std::min(budgets[l].active + more, shapes_[l].positions());
      }
    }
    flops_.levels.weights.sparse = sparse(active, 0);
    if (nested_.empty()) return;
    const auto counts = nested_counts(shapes_, start_, nested_, active);
    for (std::size_t i = 0; i < counts.size(); ++i) flops_.nested[i] = sparse(counts[i], i);
  }
  const ForwardFlops& flops() const { return flops_; }

 private:
  double operations(std::int64_t weights) const { return 2 * rows_ * static_cast<double>(weights); }
  // Returns the operations of so many active weights [L] and notes the layers of nested mask i.
  double sparse(const std::vector<std::int64_t>& active, std::size_t i) {
    double sum = 2 * rows_ * products_;
    for (std::size_t l = 0; l < active.size(); ++l) {
      flops_.layers[i * active.size() + l].sparse = operations(active[l]);
      sum += operations(active[l]);
    }
    return sum;
  }

  Start start_;
  std::vector<LayerShape> shapes_;
  std::vector<double> nested_;
  double rows_, products_;
  double density_ = -1, extra_ = 0;
  ForwardFlops flops_;
};

// Share of the budget that an update at this progress leaves beyond it.
double extra_at(const TopologyRule& rule, double progress) {
  const bool grows = std::any_of(
      rule.operations.begin(), rule.operations.end(),
      [](const auto& operation) { return operation.kind == TopologyOperation::Kind::kGrowTo; });
  return grows ? drop_fraction_at(rule, progress) : 0;
}

bool sets_density(const TopologyRule& rule) {
  return std::any_of(rule.operations.begin(), rule.operations.end(), [](const auto& operation) {
    return operation.kind == TopologyOperation::Kind::kPruneTo ||
           operation.kind == TopologyOperation::Kind::kRank;
  });
}

// Expected operations of all steps of a run, of one example each.
class ExpectedFlops {
 public:
  ExpectedFlops(Model& model, const RunSchedule& run, double rows)
      : run_(run), total_(run.timeline.total()), costs_(model, run, rows) {}

  double sum() {
    const Policies& weights = run_.policies.weights;
    const bool prunes = sets_density(weights.topology);
    double all = 0;
    for (std::size_t stage = 0; stage < run_.timeline.task_steps.size(); ++stage) {
      for (std::int64_t s = 0; s < run_.timeline.task_steps[stage]; ++s) {
        const ReplicaPlan plan = plan_replica(run_, static_cast<std::int64_t>(stage), s);
        all += expected(plan);
        if (!prunes || !plan.updates() || plan.enters_full) continue;
        costs_.prune_to(density_at(weights.topology, weights.start, plan.topology_progress),
                        extra_at(weights.topology, plan.topology_progress));
      }
    }
    return all;
  }

 private:
  // Over the draws of both levels.
  double expected(ReplicaPlan plan) const {
    const Schedule& schedule = run_.policies.attention.schedule;
    if (schedule.kind != Schedule::Kind::kBernoulli) return over_weights(plan);
    const double p = probability(schedule, plan.step);
    plan.levels.attention.full = true;
    plan.levels.attention.full_layers = ~std::uint64_t{0};
    const double full = over_weights(plan);
    plan.levels.attention.full = false;
    plan.levels.attention.full_layers = 0;
    return p * full + (1 - p) * over_weights(plan);
  }

  double over_weights(ReplicaPlan plan) const {
    const Schedule& schedule = run_.policies.weights.schedule;
    if (schedule.kind != Schedule::Kind::kBernoulli) return cost(plan);
    const double p = probability(schedule, plan.step);
    const bool per_layer = schedule.draws_per_layer();
    plan.levels.weights.full = !per_layer;
    plan.levels.weights.full_layers = ~std::uint64_t{0};
    const double full = cost(plan);
    plan.levels.weights.full = false;
    plan.levels.weights.full_layers = 0;
    return p * full + (1 - p) * cost(plan);
  }

  double probability(const Schedule& schedule, std::int64_t step) const {
    const double p =
        full_probability(schedule, step / schedule.draw_steps * schedule.draw_steps, total_);
    return std::clamp(p, 0.0, 1.0);
  }
  // Over the draws of nested masks.
  double cost(ReplicaPlan plan) const {
    const std::size_t masks = std::max<std::size_t>(1, run_.policies.weights.sets.nested.size());
    double sum = 0;
    for (std::size_t i = 0; i < masks; ++i) {
      plan.nested = static_cast<std::int64_t>(i);
      sum += step_flops(run_.demands, plan, costs_.flops()) +
             fresh_flops(run_.demands, plan, costs_.flops());
    }
    return sum / static_cast<double>(masks);
  }

  const RunSchedule& run_;
  std::int64_t total_;
  ForwardCosts costs_;
};

// Returns the operations of one example's step of dense training with full attention, for the
// network that the config gives.
double dense_step(Model& model, ModelShape shape, const RunSchedule& run, double rows) {
  Settings said = run.config.values();
  if (said.count("widths_match") != 0) said["widths_match"] = "none";
  const Config config = Config::resolve(said, false);
  std::unique_ptr<Model> other;
  if (config.text("widths_match") != run.config.text("widths_match")) {
    shape.replicas = 1;
    other = models().at("model", config.text("model"))({config}, shape);
  }
  PerLevel<Policies> policies;
  policies.weights.start = run.policies.weights.start;
  policies.weights.start.pattern = Start::Pattern::kDense;
  const RunSchedule dense(config, policies);
  const ForwardCosts costs(other == nullptr ? model : *other, dense, rows);
  return step_flops(dense.demands, ReplicaPlan(), costs.flops());
}

// What the factor of a run depends on: all but its seeds and the numbers of its optimizer.
std::string key_of(const RunSchedule& run) {
  static const std::set<std::string> kIrrelevant = {"lr",   "weight_decay", "momentum",
                                                    "clip", "tuned_for",    "final"};
  std::string key = run.config.likeness([](const std::string& name) {
    return is_of_repetition(name) || kIrrelevant.count(name) != 0;
  });
  for (const std::int64_t steps : run.timeline.task_steps) key += fmt::format("{},", steps);
  for (const std::int64_t steps : run.timeline.steps_per_epoch) key += fmt::format("{};", steps);
  return key;
}

}  // namespace

RunSchedule stretched(const RunSchedule& run, double factor) {
  Settings said = run.config.values();
  for (auto& [name, value] : said) {
    // What happens at every step goes on to.
    if (!option(name).stretches || run.config.integer(name) <= 1) continue;
    value = std::to_string(times(run.config.integer(name), factor));
  }
  const Config config = Config::resolve(said, false);
  Timeline timeline = run.timeline;
  for (std::int64_t& steps : timeline.task_steps) steps = times(steps, factor);
  // An epoch of the schedule; the sampler's own has as many examples as ever.
  for (std::int64_t& steps : timeline.steps_per_epoch) steps = times(steps, factor);
  return {config, policies_of(config), timeline};
}

RunSchedule ScheduleMatcher::matched(const RunSchedule& run) {
  if (run.config.text("match") != "train_flops") return run;
  check_rules({"one_pass_stretched"}, {run.policies.weights, run.policies.attention, &run.config});
  const auto [known, added] = factors_.emplace(key_of(run), 1.0);
  if (added) known->second = factor_of(run);
  return stretched(run, known->second);
}

// Nearly linear in the factor, but that updates are as many whatever it is and that steps are
// whole: the closest of a few rounds.
double ScheduleMatcher::factor_of(const RunSchedule& run) const {
  const double wanted =
      static_cast<double>(run.timeline.total()) * dense_step(model_, shape_, run, rows_);
  double factor = 1, best = 1, least = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kMostStretches && least > kCloseEnough; ++round) {
    const RunSchedule trial = stretched(run, factor);
    const double ratio = wanted / ExpectedFlops(model_, trial, rows_).sum();
    const double off = std::abs(std::log(ratio));
    if (off < least) {
      least = off;
      best = factor;
    }
    factor *= ratio;
  }
  return best;
}

}  // namespace tandem
