// Where published ports of a method disagree, an option says which; its default is the paper's own
// code. Each case pins both sides.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

using namespace tandem;
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

TEST_CASE("what the defaults of the papers' codes are", "[unit]") {
  const TopologyRule rigl = policies_of(small_run({{"weights", "rigl"}}), Level::kWeights).topology;
  REQUIRE(rigl.drop_fraction == 0.3);
  REQUIRE(rigl.drop_schedule == TopologyRule::DropSchedule::kCosine);
  REQUIRE(rigl.interval_steps == 100);
  REQUIRE(rigl.end == 0.75);
  REQUIRE(rigl.regrown == TopologyRule::Regrown::kKeep);
  const TopologyRule zeroing =
      policies_of(small_run({{"weights", "rigl"}, {"regrow_dropped", "zero"}}), Level::kWeights)
          .topology;
  REQUIRE(zeroing.regrown == TopologyRule::Regrown::kZero);
  const TopologyRule set = policies_of(small_run({{"weights", "set"}}), Level::kWeights).topology;
  REQUIRE(set.drop_schedule == TopologyRule::DropSchedule::kConstant);
  REQUIRE(set.interval_epochs == 1);
  REQUIRE(set.newborn_sd == 0.1);
  const Policies ssa = policies_of(small_run({{"weights", "ssa"}}), Level::kWeights);
  REQUIRE(ssa.alignment.alpha == 10);
  REQUIRE(ssa.alignment.lambda_full == 1);
  REQUIRE(ssa.alignment.lambda_sparse == 1);
  REQUIRE(ssa.schedule.p == 0.5);
  REQUIRE(ssa.alignment.site == Alignment::Site::kPre);
  REQUIRE_FALSE(ssa.alignment.propagated);
  const Policies sandwich = policies_of(small_run({{"weights", "sandwich"}}), Level::kWeights);
  REQUIRE(sandwich.schedule.kind == Schedule::Kind::kBoth);
  REQUIRE(sandwich.alignment.lambda_full == 0);
  REQUIRE(sandwich.alignment.propagated);
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
