// The edges of a method's numbers over the registries: nothing dropped, nothing dormant, hardly
// anything active.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "support/method_rules.h"
#include "support/method_walk.h"

namespace tandem::test::train_method_edges_conformance {

using namespace tandem::test;

namespace {

using Values = std::vector<at::Tensor>;

// Returns the values of all parameters, those of matrices over all of their positions.
Values values_of(Trainer& trainer) {
  Values all;
  for (const Parameter* parameter : trainer.model().parameters()) {
    all.push_back(parameter->connections != nullptr ? parameter->connections->dense_values().clone()
                                                    : parameter->value.detach().clone());
  }
  return all;
}

bool is_subset(const at::Tensor& inner, const at::Tensor& outer) {
  return !inner.logical_and(outer.logical_not()).any().item<bool>();
}

const Settings& everything_active() {
  // Orders and births that leave a net with all of its weights as dense training does.
  static const Settings settings = {
      {"density", "1"}, {"update_order", "step_then_update"}, {"regrow_dropped", "keep"}};
  return settings;
}

// Both streams compute the same, and alignment compares like with like.
bool streams_agree(const Policies& policies) {
  return policies.sets.nested.empty() && !policies.alignment.shuffled;
}

// Where all weights are active, these policies are those of dense training.
bool trains_as_dense(const Policies& policies) {
  const Schedule& schedule = policies.schedule;
  const bool both = schedule.kind == Schedule::Kind::kBoth;
  const TopologyRule& rule = policies.topology;
  const bool skips_steps =
      !rule.operations.empty() && rule.order == TopologyRule::Order::kUpdateInsteadOfStep;
  const bool renews = grows(rule) && rule.regrown == TopologyRule::Regrown::kZero;
  // Between equal outputs its gradient is zero up to rounding only, which Adam makes a step of.
  const bool rounds =
      policies.alignment.alpha > 0 && policies.alignment.distance == Alignment::Distance::kCosine;
  return streams_agree(policies) && !rounds &&
         policies.perturbation.kind == Perturbation::Kind::kNone && policies.power == 1 &&
         policies.teacher.alpha == 0 && !schedule.empties_slots && schedule.last_phase_lr == 1 &&
         !skips_steps && !renews && !rule.empties_slots &&
         !(both && schedule.loss_full + schedule.loss_sparse != 1);
}

const Values& dense_values(const std::string& optimizer) {
  static std::map<std::string, Values> all;
  if (all.count(optimizer) != 0) return all.at(optimizer);
  const MethodWalk walk{everything_active(), torch::kFloat64};
  const MethodCase dense = walk.case_of("dense", "masked", optimizer);
  const auto trainer = dense.start();
  for (std::int64_t step = 0; step < kWalkSteps; ++step) trainer->advance(0, step, 1);
  return all[optimizer] = values_of(*trainer);
}

// Each method as it is with each optimizer, and with its default one under each of its choices.
void walk_edge(MethodWalk walk, const MethodWalk::Visit& visit) {
  walk.over_methods(visit);
  walk.one_optimizer = true;
  walk.over_choices(visit);
}

void require_dense(const MethodCase& each, Trainer& trainer) {
  if (each.policies.start.first_density() < 1) return;
  Observed observed(trainer);
  for (std::int64_t step = 0; step < kWalkSteps; ++step) {
    observed.advance(step);
    for (const Linear* layer : trainer.model().linears()) {
      REQUIRE(layer->connections->active(0) == layer->connections->positions());
    }
    if (!streams_agree(each.policies)) continue;
    REQUIRE(trainer.state(0).alignment_sum == Approx(0).margin(1e-12));
  }
  if (!trains_as_dense(each.policies)) return;
  const Values own = values_of(trainer), dense = dense_values(each.optimizer);
  REQUIRE(own.size() == dense.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    CAPTURE(trainer.model().parameters()[i]->name);
    REQUIRE(torch::allclose(own[i], dense[i], 1e-9, 1e-10));
  }
}

void require_same_masks(const MethodCase& each, Trainer& trainer) {
  const bool prunes =
      each.policies.topology.budget_schedule != TopologyRule::BudgetSchedule::kConstant;
  Observed observed(trainer);
  std::vector<LayerState> before = layer_states(trainer, 0);
  for (std::int64_t step = 0; step < kWalkSteps; ++step) {
    observed.advance(step);
    std::vector<LayerState> now = layer_states(trainer, 0);
    for (std::size_t l = 0; l < now.size(); ++l) {
      CAPTURE(step, trainer.layers()[l].name);
      REQUIRE(is_subset(now[l].active, before[l].active));
      if (!prunes) REQUIRE(torch::equal(now[l].active, before[l].active));
    }
    before = std::move(now);
  }
  REQUIRE(observed.updated());
  REQUIRE_FALSE(observed.grew());
}

void require_tiny(const MethodCase& each, Trainer& trainer) {
  const Start& start = each.policies.start;
  const bool stays_dense =
      start.pattern == Start::Pattern::kDense && each.policies.topology.operations.empty();
  if (!stays_dense && start.granularity.kind == Granularity::Kind::kElement) {
    for (const LayerBudget& budget : spread_budget(trainer.layers(), start, start.density)) {
      REQUIRE(budget.active <= 2);
    }
  }
  Observed observed(trainer);
  for (std::int64_t step = 0; step < kWalkSteps; ++step) observed.advance(step);
}

}  // namespace

TEST_CASE("a drop fraction of zero changes no mask", "[conformance]") {
  walk_edge({.settings = {{"drop_fraction", "0"}}, .only_with = "drop_fraction"},
            require_same_masks);
}

TEST_CASE("with a budget of everything nothing is dormant and training is dense", "[conformance]") {
  walk_edge({.settings = everything_active(), .dtype = torch::kFloat64}, require_dense);
}

TEST_CASE("a budget of a weight or two per layer is kept", "[conformance]") {
  walk_edge({.settings = {{"density", "0.00015"}}}, require_tiny);
}

}  // namespace tandem::test::train_method_edges_conformance
