// What is derived from policies, held against lists written by hand: which changes make another
// kind of step, and what a step asks for. That a policy which is added is looked at is checked by
// the compiler: demands.cpp takes each apart member by member.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "methods/method.h"
#include "plan/step_demands.h"
#include "policy/demands.h"

namespace tandem::test::plan_demands_unit {

using Catch::Matchers::Contains;

// Every policy differs from the default where its kind could hide it.
Policies busy() {
  Policies p;
  p.schedule.kind = Schedule::Kind::kBernoulli;
  p.sets = {.gradient = Support::kStream, .update = Support::kMask, .superset = 0.5};
  p.dormant.kind = Dormant::Kind::kDecay;
  p.topology.operations = {{TopologyOperation::Kind::kDrop, "magnitude"},
                           {TopologyOperation::Kind::kGrow, "random"}};
  p.alignment.alpha = 1;
  p.alignment.gap_target = 0.1;
  p.teacher.alpha = 1;
  return p;
}

struct Edit {
  const char* name;
  void (*make)(Policies&);
};

TEST_CASE("what changes a step's kind keeps runs apart", "[unit]") {
  const std::vector<Edit> edits = {
      {"schedule", [](Policies& p) { p.schedule.kind = Schedule::Kind::kTurns; }},
      {"draw", [](Policies& p) { p.schedule.draw = Schedule::Draw::kLayer; }},
      {"phases' slots", [](Policies& p) { p.schedule.empties_slots = true; }},
      {"S", [](Policies& p) { p.sets.gradient = Support::kAll; }},
      {"U", [](Policies& p) { p.sets.update = Support::kAll; }},
      {"no superset", [](Policies& p) { p.sets.superset = 0; }},
      {"random superset", [](Policies& p) { p.sets.superset_random = true; }},
      {"full in superset", [](Policies& p) { p.sets.full_in_superset = true; }},
      {"outside zero", [](Policies& p) { p.sets.outside_zero = true; }},
      {"nested masks",
       [](Policies& p) {
         p.sets.nested = {1, 0.5};
       }},
      {"dormant", [](Policies& p) { p.dormant.kind = Dormant::Kind::kHold; }},
      {"decay's steps", [](Policies& p) { p.dormant.sparse_steps_only = false; }},
      {"decay in the gradient", [](Policies& p) { p.dormant.in_gradient = true; }},
      {"zeroed by phases", [](Policies& p) { p.dormant.zeroed_by_phases = true; }},
      {"operation", [](Policies& p) { p.topology.operations.pop_back(); }},
      {"criterion", [](Policies& p) { p.topology.operations[1].criterion = "gradient"; }},
      {"scope", [](Policies& p) { p.topology.operations[0].whole_net = true; }},
      {"criterion's number", [](Policies& p) { p.topology.operations[0].parameter = 0.25; }},
      {"sampled", [](Policies& p) { p.topology.operations[0].sampled = true; }},
      {"order", [](Policies& p) { p.topology.order = TopologyRule::Order::kUpdateInsteadOfStep; }},
      {"regrown", [](Policies& p) { p.topology.regrown = TopologyRule::Regrown::kZero; }},
      {"redistribution",
       [](Policies& p) {
         p.topology.redistribution = TopologyRule::Redistribution::kAveragedGradient;
       }},
      {"at phases", [](Policies& p) { p.topology.at_phases = true; }},
      {"fresh batches", [](Policies& p) { p.topology.fresh_batches = 2; }},
      {"newborn's draws", [](Policies& p) { p.topology.newborn_sd = 0.1; }},
      {"stale newborn", [](Policies& p) { p.topology.newborn_stale = true; }},
      {"emptied slots", [](Policies& p) { p.topology.empties_slots = true; }},
      {"pattern", [](Policies& p) { p.start.pattern = Start::Pattern::kDense; }},
      {"exempt", [](Policies& p) { p.start.exempt = {"layer0"}; }},
      {"granularity", [](Policies& p) { p.start.granularity.kind = Granularity::Kind::kFanIn; }},
      {"block", [](Policies& p) { p.start.granularity.block = 8; }},
      {"no alignment", [](Policies& p) { p.alignment.alpha = 0; }},
      {"distance", [](Policies& p) { p.alignment.distance = Alignment::Distance::kMse; }},
      {"site", [](Policies& p) { p.alignment.site = Alignment::Site::kPost; }},
      {"propagated", [](Policies& p) { p.alignment.propagated = true; }},
      {"detached", [](Policies& p) { p.alignment.detached = true; }},
      {"shuffled", [](Policies& p) { p.alignment.shuffled = true; }},
      {"not steered", [](Policies& p) { p.alignment.gap_target = 0; }},
      {"perturbed", [](Policies& p) { p.perturbation.kind = Perturbation::Kind::kAscent; }},
      {"radius", [](Policies& p) { p.perturbation.unit = false; }},
      {"masked", [](Policies& p) { p.perturbation.masked = true; }},
      {"adds own", [](Policies& p) { p.perturbation.adds_own = true; }},
      {"no teacher", [](Policies& p) { p.teacher.alpha = 0; }},
      {"temperature", [](Policies& p) { p.teacher.temperature = 2; }},
      {"power", [](Policies& p) { p.power = 2; }},
      {"selector", [](Policies& p) { p.selector.per_head = true; }},
  };
  for (const Edit& edit : edits) {
    INFO(edit.name);
    Policies changed = busy();
    edit.make(changed);
    CHECK(demands_of(changed).kind != demands_of(busy()).kind);
    CHECK(demands_of(changed) != demands_of(busy()));
  }
}

TEST_CASE("numbers that are read run by run keep runs together", "[unit]") {
  const std::vector<Edit> edits = {
      {"p", [](Policies& p) { p.schedule.p = 0.1; }},
      {"p_final", [](Policies& p) { p.schedule.p_final = 0.1; }},
      {"course", [](Policies& p) { p.schedule.shape = Schedule::Shape::kLinear; }},
      {"draw_steps", [](Policies& p) { p.schedule.draw_steps = 5; }},
      {"loss weights", [](Policies& p) { p.schedule.loss_full = p.schedule.loss_sparse = 0.5; }},
      {"phases", [](Policies& p) { p.schedule.phases = {0.5}; }},
      {"last phase", [](Policies& p) { p.schedule.last_phase_lr = 0.1; }},
      {"superset", [](Policies& p) { p.sets.superset = 0.4; }},
      {"eta", [](Policies& p) { p.dormant.eta = 0.1; }},
      {"eta by lr", [](Policies& p) { p.dormant.scaled_by_lr = true; }},
      {"interval", [](Policies& p) { p.topology.interval_steps = 7; }},
      {"epochs", [](Policies& p) { p.topology.interval_epochs = 1; }},
      {"span", [](Policies& p) { p.topology.begin = 0.1, p.topology.end = 0.5; }},
      {"fraction",
       [](Policies& p) { p.topology.drop_fraction = 0.2, p.topology.drop_final = 0.1; }},
      {"fraction's schedule",
       [](Policies& p) { p.topology.drop_schedule = TopologyRule::DropSchedule::kLinear; }},
      {"budget's span", [](Policies& p) { p.topology.budget_begin = p.topology.budget_end = 0.5; }},
      {"density", [](Policies& p) { p.start.density = 0.2, p.start.initial_density = 0.4; }},
      {"budget", [](Policies& p) { p.start.budget = Start::Budget::kUniform; }},
      {"drawn", [](Policies& p) { p.start.drawn = true; }},
      {"scale", [](Policies& p) { p.start.init_scale = Start::InitScale::kFanIn; }},
      {"alpha", [](Policies& p) { p.alignment.alpha = 2, p.alignment.alpha_warmup_steps = 5; }},
      {"lambda", [](Policies& p) { p.alignment.lambda_full = p.alignment.lambda_sparse = 2; }},
      {"every", [](Policies& p) { p.alignment.every_steps = 3; }},
      {"gap", [](Policies& p) { p.alignment.gap_target = 0.2, p.alignment.gap_rate = 0.1; }},
      {"radius", [](Policies& p) { p.perturbation.radius = 0.1; }},
      {"teacher's alpha", [](Policies& p) { p.teacher.alpha = 0.5; }},
  };
  for (const Edit& edit : edits) {
    INFO(edit.name);
    Policies changed = busy();
    edit.make(changed);
    CHECK(demands_of(changed) == demands_of(busy()));
  }
}

Demands weights_of(const Settings& given) {
  return demands_of(policies_of(Config::resolve(given), Level::kWeights));
}

TEST_CASE("what methods ask of a step is as their papers say", "[unit]") {
  const Demands dense = weights_of({{"weights", "dense"}});
  CHECK((dense.full_stream && dense.ever_reaches_all));
  CHECK_FALSE((dense.aligns || dense.reads_gradient || dense.renews_weights || dense.perturbed));
  const Demands rigl = weights_of({{"weights", "rigl"}});
  CHECK((rigl.reads_gradient && rigl.renews_weights));
  CHECK_FALSE((rigl.full_stream || rigl.accumulates || rigl.keeps_counts || rigl.ever_reaches_all));
  const Demands snfs = weights_of({{"weights", "snfs"}});
  CHECK(snfs.accumulates);
  CHECK_THAT(snfs.sparse_refusal, Contains("averaged_gradient"));
  const Demands ssa = weights_of({{"weights", "ssa"}});
  CHECK((ssa.full_stream && ssa.aligns && ssa.cuts_gradients && ssa.keeps_counts));
  CHECK(weights_of({{"weights", "sam"}}).perturbed);
  CHECK(weights_of({{"weights", "rigl_teacher"}}).teacher);
  const Demands sandwich = weights_of({{"weights", "sandwich"}});
  CHECK((sandwich.both_streams || sandwich.counterpart_pass));
  CHECK(weights_of({{"weights", "ssa"}, {"mask_source", "magnitude_input"}}).reads_inputs);
}

TEST_CASE("what layers share by a slot of every weight is no matter of operations alone",
          "[unit]") {
  Policies weights = policies_of(Config::resolve({{"weights", "set"}}), Level::kWeights);
  REQUIRE(demands_of(weights).sparse_refusal.empty());
  weights.topology.redistribution = TopologyRule::Redistribution::kAveragedGradient;
  CHECK(demands_of(weights).accumulates);
  CHECK_THAT(demands_of(weights).sparse_refusal, Contains("averaged_gradient"));
}

TEST_CASE("where a step's gradients and updates reach", "[unit]") {
  struct Case {
    Support set;
    bool full, draws, aligned;
    bool cut_gradient, cut_update;
  };
  const std::vector<Case> cases = {
      {Support::kMask, true, false, false, true, true},
      {Support::kSuperset, true, false, true, true, true},
      {Support::kAll, false, false, false, false, false},
      {Support::kStream, true, false, false, false, false},
      {Support::kStream, false, false, false, true, true},
      {Support::kStream, false, false, true, false, true},  // by the sparse product itself
      {Support::kStream, false, true, false, false, true},  // layer by layer
  };
  for (const Case& each : cases) {
    CAPTURE(static_cast<int>(each.set), each.full, each.draws, each.aligned);
    Policies policies;
    policies.schedule.kind = Schedule::Kind::kBernoulli;
    if (each.draws) policies.schedule.draw = Schedule::Draw::kLayer;
    policies.sets.gradient = policies.sets.update = each.set;
    policies.alignment.alpha = each.aligned ? 1 : 0;
    ReplicaPlan plan;
    plan.levels.weights = {each.full, each.aligned ? 1.0 : 0.0};
    plan.levels.weights.full_layers = 0b10;
    const Demands demands = demands_of(policies);
    CHECK(cuts_gradient(demands, plan) == each.cut_gradient);
    CHECK(cuts_update(demands, plan) == each.cut_update);
    const bool all = each.set == Support::kAll;
    const bool stream = each.set == Support::kStream;
    CHECK(reaches_all(demands, plan, 0) ==
          (all || (stream && (each.aligned || (each.full && !each.draws)))));
    CHECK(reaches_all(demands, plan, 1) ==
          (all || (stream && (each.aligned || each.draws || each.full))));
    plan.update_instead = true;
    CHECK_FALSE(reaches_all(demands, plan, 1));
  }
}

}  // namespace tandem::test::plan_demands_unit
