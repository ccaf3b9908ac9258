// A battery over the registry: a new weights method is tested by being registered.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

using namespace tandem;
using namespace tandem::test;

namespace {

// Short enough for the battery; updates happen several times.
Settings battery_settings(const std::string& method, const std::string& optimizer) {
  Settings said = busy_method(method, optimizer, 24, 5);
  if (method == "set") said["update_interval_epochs"] = "0.5";
  return said;
}

at::Tensor mask_of(const Linear& layer) {
  const at::Tensor flags = layer.connections->active_flags();
  return flags.defined() ? flags.view_as(layer.weight.value).clone()
                         : torch::ones_like(layer.weight.value, torch::kUInt8);
}

std::int64_t total_active(Trainer& trainer) {
  std::int64_t sum = 0;
  for (const Linear* layer : trainer.model().linears()) sum += layer->connections->active(0);
  return sum;
}

}  // namespace

TEST_CASE("budgets are exact, dormant weights obey their policy, nothing is NaN", "[conformance]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    for (const std::string optimizer : {"sgd", "adamw"}) {
      CAPTURE(name, optimizer);
      const Config config = small_run(battery_settings(name, optimizer));
      const Policies policies = policies_of(config, Level::kWeights);
      Trainer trainer({config}, {});
      trainer.begin_stage(0);
      const std::int64_t start = total_active(trainer);
      for (std::int64_t s = 0; s < 24; ++s) {
        std::vector<at::Tensor> masks, values;
        for (const Linear* layer : trainer.model().linears()) {
          masks.push_back(mask_of(*layer));
          values.push_back(layer->weight.value.detach().clone());
        }
        const StepReport report = trainer.advance(0, s, 1);
        REQUIRE_FALSE(trainer.diverged(0));
        const std::int64_t now = total_active(trainer);
        if (policies.start.granularity.ablation > 0) {  // a remainder below the number of units
          std::int64_t units = 0;
          for (const Linear* layer : trainer.model().linears()) units += layer->outputs();
          REQUIRE(now <= start);
          REQUIRE(now > start - units);
        } else if (policies.topology.budget_schedule == TopologyRule::BudgetSchedule::kConstant) {
          REQUIRE(now == start);
        } else {
          REQUIRE(now <= start);
        }
        std::size_t l = 0;
        for (const Linear* layer : trainer.model().linears()) {
          const at::Tensor dormant = mask_of(*layer) == 0;
          const at::Tensor now_values = layer->weight.value.detach();
          if (policies.dormant_stay_zero()) {
            REQUIRE(now_values.masked_select(dormant).abs().sum().item<double>() == 0);
          }
          if (policies.sets.update == Support::kMask && !report.updated[0]) {
            const at::Tensor outside = masks[l] == 0;
            REQUIRE(
                torch::equal(now_values.masked_select(outside), values[l].masked_select(outside)));
          }
          REQUIRE(layer->connections->active(0) == mask_of(*layer).sum().item<std::int64_t>());
          ++l;
        }
      }
      if (policies.topology.budget_schedule == TopologyRule::BudgetSchedule::kCubic) {
        REQUIRE(total_active(trainer) < start);
      }
    }
  }
}

TEST_CASE("slots of what left the topology are empty, the newborn's start empty", "[conformance]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    const Config config = small_run(battery_settings(name, "sgd"));
    const Policies policies = policies_of(config, Level::kWeights);
    if (!policies.dormant_stay_zero() || policies.topology.operations.empty()) continue;
    CAPTURE(name);
    Trainer trainer({config}, {});
    trainer.begin_stage(0);
    bool any_update = false;
    for (std::int64_t s = 0; s < 24; ++s) {
      std::vector<at::Tensor> before;
      for (const Linear* layer : trainer.model().linears()) before.push_back(mask_of(*layer));
      const StepReport report = trainer.advance(0, s, 1);
      any_update = any_update || report.updated[0];
      std::size_t l = 0;
      for (Linear* layer : trainer.model().linears()) {
        const at::Tensor momentum = layer->weight.slot("momentum").view_as(layer->weight.value);
        REQUIRE(momentum.masked_select(mask_of(*layer) == 0).abs().sum().item<double>() == 0);
        const at::Tensor born = (mask_of(*layer) == 1).logical_and(before[l] == 0);
        if (report.updated[0]) {
          REQUIRE(momentum.masked_select(born).abs().sum().item<double>() == 0);
        }
        ++l;
      }
    }
    REQUIRE(any_update);
  }
}

TEST_CASE("the same seed gives the same masks, another seed others", "[conformance]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    if (!policies_of(small_run({{"weights", name}}), Level::kWeights).topology.operations.size()) {
      continue;
    }
    CAPTURE(name);
    const auto final_masks = [&](const std::string& seed) {
      Settings said = battery_settings(name, "sgd");
      said["seed"] = seed;
      Trainer trainer({small_run(said)}, {});
      trainer.begin_stage(0);
      for (std::int64_t s = 0; s < 24; ++s) trainer.advance(0, s, 1);
      std::vector<at::Tensor> masks;
      for (const Linear* layer : trainer.model().linears())
        masks.push_back(mask_of(*layer).view(-1));
      return torch::cat(masks);
    };
    const at::Tensor first = final_masks("1");
    REQUIRE(torch::equal(first, final_masks("1")));
    REQUIRE_FALSE(torch::equal(first, final_masks("2")));
  }
}

TEST_CASE("a drop fraction of zero changes no mask", "[conformance]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    const Part& facts = part("weights", name);
    if (!std::count(facts.uses.begin(), facts.uses.end(), "drop_fraction")) continue;
    const TopologyRule rule = policies_of(small_run({{"weights", name}}), Level::kWeights).topology;
    if (rule.budget_schedule != TopologyRule::BudgetSchedule::kConstant) continue;  // it prunes
    CAPTURE(name);
    Settings said = battery_settings(name, "sgd");
    said["drop_fraction"] = "0";
    Trainer trainer({small_run(said)}, {});
    trainer.begin_stage(0);
    std::vector<at::Tensor> before;
    for (const Linear* layer : trainer.model().linears()) before.push_back(mask_of(*layer));
    for (std::int64_t s = 0; s < 24; ++s) trainer.advance(0, s, 1);
    std::size_t l = 0;
    for (const Linear* layer : trainer.model().linears()) {
      REQUIRE(torch::equal(mask_of(*layer), before[l++]));
    }
  }
}

TEST_CASE("a budget of everything makes both streams one", "[conformance]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    CAPTURE(name);
    Settings said = battery_settings(name, "sgd");
    said["density"] = "1";
    Trainer trainer({small_run(said)}, {});
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 6; ++s) {
      trainer.advance(0, s, 1);
      REQUIRE_FALSE(trainer.diverged(0));
      REQUIRE(trainer.state(0).alignment_sum == Approx(0).margin(1e-12));
    }
  }
}

TEST_CASE("a diverged replica is frozen and the others go on", "[conformance]") {
  const Config wild = small_run({{"lr", "1e30"}, {"clip", "0"}, {"steps", "12"}});
  const Config calm = small_run({{"steps", "12"}, {"clip", "0"}});
  GroupSpec spec;
  spec.runs = {wild, calm};
  MemorySink sink;
  run_group(spec, sink);
  std::map<std::string, std::string> states;
  for (const auto& [key, line] : sink.rows()) {
    const RowBody body = decode_row(line).body;
    if (const auto* state = std::get_if<StateRow>(&body)) states[key.first] = state->state;
  }
  REQUIRE(states.at(wild.id()) == "diverged");
  REQUIRE(states.at(calm.id()) == "done");
}
