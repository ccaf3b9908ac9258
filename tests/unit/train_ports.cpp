// Where published ports of a method disagree, an option says which; its default is the paper's own
// code (see method_defaults.cpp). Each case pins the other side as well.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_ports_unit {

using namespace tandem::test;

namespace {

struct Observed {
  at::Tensor before, after, active_before, active_after;  // of layer0
  std::int64_t count = 0;                                 // optimizer updates
};

// Trains to the first topology update and looks at the first layer around it.
Observed at_first_update(const Settings& said) {
  Settings settings = {{"steps", "40"}};
  for (const auto& [name, value] : said) settings[name] = value;
  Trainer trainer({small_run(settings)}, {});
  trainer.begin_stage(0);
  Linear& layer = *trainer.model().linears().front();
  for (std::int64_t s = 0; s < 40; ++s) {
    Observed seen;
    seen.before = layer.weight.value.detach().clone();
    seen.active_before = layer.connections->active_flags().view_as(seen.before).clone();
    const StepReport report = trainer.advance(0, s, 1);
    if (!report.updated[0]) continue;
    seen.after = layer.weight.value.detach().clone();
    seen.active_after = layer.connections->active_flags().view_as(seen.before).clone();
    seen.count = trainer.updates_of(0);
    return seen;
  }
  FAIL("no update took place");
  return {};
}

at::Tensor survivors(const Observed& seen) {
  return seen.active_before.logical_and(seen.active_after);
}

at::Tensor newborn(const Observed& seen) {
  return seen.active_after.logical_and(seen.active_before.logical_not());
}

}  // namespace

TEST_CASE("RigL's update takes the step's place; ports that step first differ", "[unit]") {
  const Observed instead = at_first_update({{"weights", "rigl"}, {"update_interval", "5"}});
  const at::Tensor kept = survivors(instead);
  REQUIRE(torch::equal(instead.before.masked_select(kept), instead.after.masked_select(kept)));
  REQUIRE(instead.count == 5);
  REQUIRE(newborn(instead).sum().item<std::int64_t>() > 0);
  REQUIRE(instead.after.masked_select(newborn(instead)).abs().sum().item<double>() == 0);

  const Observed stepped = at_first_update(
      {{"weights", "rigl"}, {"update_interval", "5"}, {"update_order", "step_then_update"}});
  const at::Tensor also_kept = survivors(stepped);
  REQUIRE_FALSE(torch::equal(stepped.before.masked_select(also_kept),
                             stepped.after.masked_select(also_kept)));
  REQUIRE(stepped.count == 5);
}

TEST_CASE("SET drops by sign and grows with drawn values; ports drop by magnitude at zero",
          "[unit]") {
  const auto negatives = [](const Observed& seen, bool after) {
    const at::Tensor& active = after ? seen.active_after : seen.active_before;
    return seen.before.masked_select(active.logical_and(survivors(seen)))
        .lt(0)
        .sum()
        .item<std::int64_t>();
  };
  const Observed own = at_first_update({{"weights", "set"}});
  REQUIRE(own.after.masked_select(newborn(own)).abs().sum().item<double>() > 0);
  const double spread = own.after.masked_select(newborn(own)).std().item<double>();
  REQUIRE(spread == Approx(0.1).epsilon(0.15));
  // The fraction zeta of each sign goes, so that the survivors' signs keep their proportion.
  const std::int64_t all_negative =
      own.before.masked_select(own.active_before == 1).lt(0).sum().item<std::int64_t>();
  const std::int64_t left = negatives(own, true);
  REQUIRE(static_cast<double>(left) ==
          Approx(0.7 * static_cast<double>(all_negative)).epsilon(0.1));

  const Observed port =
      at_first_update({{"weights", "set"}, {"grow_init", "zero"}, {"drop_rule", "magnitude"}});
  REQUIRE(port.after.masked_select(newborn(port)).abs().sum().item<double>() == 0);
  // What survives is what was largest, whatever its sign.
  const at::Tensor left_out = port.active_before.logical_and(port.active_after.logical_not());
  const double largest_dropped = port.before.masked_select(left_out).abs().max().item<double>();
  const double smallest_kept =
      port.before.masked_select(survivors(port)).abs().min().item<double>();
  REQUIRE(largest_dropped <= smallest_kept + 0.02);  // the step before the update moves both
}

TEST_CASE("options take the other side", "[unit]") {
  const auto rule = [](const std::string& method, Settings said) {
    said["weights"] = method;
    return policies_of(small_run(said), Level::kWeights).topology;
  };
  using Regrown = TopologyRule::Regrown;
  REQUIRE(rule("rigl", {{"regrow_dropped", "zero"}}).regrown == Regrown::kZero);
  REQUIRE(rule("rigl", {{"regrow_dropped", "exclude"}}).regrown == Regrown::kExclude);
  REQUIRE(rule("set", {{"regrow_dropped", "keep"}}).regrown == Regrown::kKeep);
  REQUIRE(rule("set", {{"update_slots", "all"}}).empties_slots);
  REQUIRE(rule("set", {{"drop_rule", "magnitude"}}).operations[0].criterion == "magnitude");
  REQUIRE(rule("mest", {{"drop_schedule", "linear"}}).drop_schedule ==
          TopologyRule::DropSchedule::kLinear);
  // GraNet's pruning spans shares of the run within its updates, which may end earlier: 0.1 and 0.4
  // of the run are 0.2 and 0.8 of the half that has updates.
  const TopologyRule granet =
      rule("granet", {{"update_end", "0.5"}, {"prune_begin", "0.1"}, {"prune_end", "0.4"}});
  REQUIRE(granet.end == 0.5);
  REQUIRE(granet.budget_begin == Approx(0.2));
  REQUIRE(granet.budget_end == Approx(0.8));
  REQUIRE_THROWS_WITH(rule("granet", {{"update_end", "0.5"}}), Catch::Contains("--prune-end 0.75"));
  REQUIRE_THROWS_AS(rule("granet", {{"prune_begin", "0.6"}, {"prune_end", "0.4"}}), ConfigError);
  REQUIRE_THROWS_AS(rule("granet", {{"update_end", "0"}, {"prune_end", "0"}}), ConfigError);
  // Its mask would stand still where scores of dormant weights are read from a gradient without
  // them.
  const auto near_by = [](const std::string& masked) {
    return policies_of(small_run({{"weights", "cram"},
                                  {"mask_source", "gradient"},
                                  {"cram_masked_gradient", masked}}),
                       Level::kWeights)
        .topology.fresh_batches;
  };
  REQUIRE(near_by("true") == 1);
  REQUIRE(near_by("false") == 0);
  const auto near = [](Settings said) {
    said["weights"] = "cram";
    return policies_of(small_run(said), Level::kWeights).perturbation;
  };
  REQUIRE(near({{"radius_of", "unit_gradient"}}).unit);
  REQUIRE_FALSE(near({{"cram_masked_gradient", "false"}}).masked);
  REQUIRE_FALSE(near({{"cram_plus", "false"}}).adds_own);
}

TEST_CASE("initial scale divides by the root of what is active", "[unit]") {
  const auto first_layer = [](const std::string& scale) {
    Trainer trainer({small_run({{"weights", "static"}, {"init_scale", scale}})}, {});
    return trainer.model().linears().front()->weight.value.detach()[0].clone();
  };
  const at::Tensor dense = first_layer("dense"), fan_in = first_layer("fan_in");
  const at::Tensor density = first_layer("density");
  const at::Tensor active = dense != 0;
  const at::Tensor share = active.to(torch::kFloat32).mean(0, true);
  REQUIRE(torch::allclose(fan_in * share.sqrt(), dense, 1e-5, 1e-7));
  REQUIRE(torch::allclose(density * active.to(torch::kFloat32).mean().sqrt(), dense, 1e-5, 1e-7));
}

}  // namespace tandem::test::train_ports_unit
