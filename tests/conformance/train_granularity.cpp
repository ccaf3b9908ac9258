// Granularities and SRigL end to end: at every step each unit, group or layer holds its quota.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "methods/granularity.h"
#include "methods/method.h"
#include "readout/readout.h"
#include "support/method_course.h"
#include "support/method_rules.h"
#include "support/train_support.h"
#include "topology/connections.h"
#include "topology/granularity.h"
#include "train/trainer.h"

namespace tandem::test::train_granularity_conformance {

using namespace tandem::test;
using Catch::Matchers::Contains;

namespace {

Settings with(Settings said, const Settings& more) {
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

const std::vector<Settings>& granularities() {
  static const std::vector<Settings> all = {
      {{"granularity", "fan_in"}},
      {{"granularity", "n_m"}, {"density", "0.5"}},
      {{"granularity", "n_m"}, {"nm_n", "1"}, {"nm_m", "5"}, {"density", "0.2"}},
      {{"granularity", "block"}},
  };
  return all;
}

at::Tensor flags_of(const Linear& layer) {
  const at::Tensor flags = layer.connections->active_flags();
  return flags.defined() ? flags.view({1, -1}).clone()
                         : torch::ones({1, layer.inputs() * layer.outputs()}, torch::kByte);
}

Grouping grouping_of(const Linear& layer, const Config& config) {
  return {granularity_of(config), layer.inputs(), layer.outputs()};
}

}  // namespace

TEST_CASE("RigL and SET keep to every granularity with each optimizer", "[conformance]") {
  for (const std::string method : {"rigl", "set"}) {
    for (const Settings& granularity : granularities()) {
      // SET's own rule drops a share of each sign, and a block has both.
      const Settings said = with({{"drop_rule", "magnitude"}}, granularity);
      const auto m = granularity.find("nm_m");
      const std::string label =
          granularity.at("granularity") + (m == granularity.end() ? " " : m->second + " ");
      MethodWalk{.settings = said, .label = label}.over(method, require_conformance);
    }
  }
}

TEST_CASE("ranking all weights keeps n of each m", "[conformance]") {
  for (const Settings& granularity : granularities()) {
    CAPTURE(granularity.at("granularity"));
    const Config config =
        small_run(with(with(busy_method("alternate", "sgd", 9, 2), granularity), {{"lr", "0.2"}}));
    Trainer trainer({config}, {});
    trainer.begin_stage(0);
    std::vector<std::int64_t> items;
    std::vector<at::Tensor> before;
    for (const Linear* layer : trainer.model().linears()) {
      items.push_back(require_held(*layer, granularity_of(config)));
      before.push_back(flags_of(*layer));
    }
    for (std::int64_t s = 0; s < 9; ++s) trainer.advance(0, s, 1);
    bool moved = false;
    const auto read_out = trained_masks(trainer.model(), probe_runs(trainer));
    for (std::size_t l = 0; l < items.size(); ++l) {
      const Linear& layer = *trainer.model().linears()[l];
      REQUIRE(require_held(layer, granularity_of(config)) == items[l]);
      moved = moved || !flags_of(layer).equal(before[l]);
      // What the trained sparse net is read out with has the structure too.
      const Grouping grouping = grouping_of(layer, config);
      const at::Tensor chosen = read_out[l];
      REQUIRE(grouping.item_flags(chosen).sum().item<std::int64_t>() == items[l]);
      REQUIRE(grouping.position_flags(grouping.item_flags(chosen)).equal(chosen));
      if (grouping.has_quotas()) {
        REQUIRE(grouping.held(chosen).equal(grouping.quotas({items[l]})));
      }
    }
    REQUIRE(moved);
  }
}

TEST_CASE("gradual pruning lowers every unit's fan-in, or the number of blocks", "[conformance]") {
  for (const std::string granularity : {"fan_in", "block"}) {
    CAPTURE(granularity);
    const Config config =
        small_run(with(busy_method("gmp", "sgd", 20, 5), {{"granularity", granularity}}));
    Trainer trainer({config}, {});
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 20; ++s) {
      trainer.advance(0, s, 1);
      for (const Linear* layer : trainer.model().linears())
        require_held(*layer, granularity_of(config));
    }
    const std::vector<Linear*> linears = trainer.model().linears();
    const Start start = policies_of(config, Level::kWeights).start;
    const auto budgets = spread_budget(trainer.layers(), start, start.density);
    for (std::size_t l = 0; l < linears.size(); ++l) {
      REQUIRE(linears[l]->connections->active_items(0) ==
              budget_items(trainer.layers()[l], start.granularity, budgets[l].active));
    }
    // The net at its own density is read out as it is.
    REQUIRE(
        keeps_own_nets(trainer.model(), probe_runs(trainer), trained_density(probe_runs(trainer))));
  }
}

TEST_CASE("SRigL ablates units, keeps its connections and spares the last layer", "[conformance]") {
  const Config config = small_run(
      with(busy_method("srigl", "sgd", 40, 5), {{"ablation", "0.9"}, {"update_end", "1"}}));
  Trainer trainer({config}, {});
  trainer.begin_stage(0);
  const std::vector<Linear*> linears = trainer.model().linears();
  std::vector<std::int64_t> start;
  for (const Linear* layer : linears) start.push_back(require_held(*layer, granularity_of(config)));
  std::int64_t ablated = 0;
  for (std::int64_t s = 0; s < 40; ++s) {
    trainer.advance(0, s, 1);
    REQUIRE_FALSE(trainer.diverged(0));
    ablated = 0;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      const Linear& layer = *linears[l];
      const at::Tensor held = grouping_of(layer, config).held(flags_of(layer))[0];
      const at::Tensor stays = held.masked_select(held.gt(0));
      REQUIRE(stays.eq(stays[0]).all().item<bool>());
      REQUIRE(layer.connections->active(0) == held.sum().item<std::int64_t>());
      REQUIRE(layer.connections->active(0) <= start[l]);
      REQUIRE(layer.connections->active(0) > start[l] - stays.numel());
      const bool last = l + 1 == linears.size();
      if (last) REQUIRE(stays.numel() == layer.outputs());
      ablated += layer.outputs() - stays.numel();
      const at::Tensor w = layer.weight.value.detach().view({1, -1});
      REQUIRE(w.masked_select(flags_of(layer).eq(0)).eq(0).all().item<bool>());
    }
  }
  REQUIRE(ablated > 0);
}

TEST_CASE("SRigL without ablation keeps every unit", "[conformance]") {
  const Config config = small_run(with(busy_method("srigl", "sgd", 20, 5), {{"ablation", "0"}}));
  Trainer trainer({config}, {});
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 20; ++s) {
    trainer.advance(0, s, 1);
    for (const Linear* layer : trainer.model().linears())
      require_held(*layer, granularity_of(config));
  }
  CHECK_THROWS_WITH(
      policies_of(small_run({{"weights", "srigl"}, {"granularity", "block"}}), Level::kWeights),
      Contains("--granularity fan_in"));
  CHECK_THROWS_WITH(
      policies_of(small_run({{"weights", "rigl"}, {"granularity", "n_m"}}), Level::kWeights),
      Contains("0.2") && Contains("0.5"));
  CHECK_THROWS_AS(policies_of(small_run({{"granularity", "n_m"}, {"nm_n", "5"}}), Level::kWeights),
                  ConfigError);
}

namespace {

using Items = std::vector<std::int64_t>;  // active, of each layer

// RigL that moves a share of 0.3 in place of steps 3 and 6.
Settings moving_rigl(const Settings& said) {
  return with(with(busy_method("rigl", "sgd", 9, 3), {{"drop_schedule", "constant"}}), said);
}

struct Run {
  Config config;
  Trainer trainer;

  explicit Run(const Settings& said) : config(small_run(said)), trainer({config}, {}) {
    trainer.begin_stage(0);
  }

  void require_items(const Items& items) {
    for (std::size_t l = 0; l < items.size(); ++l) {
      CAPTURE(l);
      REQUIRE(require_held(*trainer.model().linears()[l], granularity_of(config)) == items[l]);
    }
  }

  // Takes the steps and returns whether some mask changed.
  bool walk(const Items& items) {
    require_items(items);
    const std::string first = mask_hashes(trainer);
    bool moved = false;
    for (std::int64_t s = 0; s < 9; ++s) {
      CAPTURE(s);
      const StepReport report = trainer.advance(0, s, 1);
      REQUIRE(static_cast<bool>(report.updated[0]) == (s == 3 || s == 6));
      REQUIRE_FALSE(trainer.diverged(0));
      require_items(items);
      moved = moved || mask_hashes(trainer) != first;
    }
    return moved;
  }
};

struct Edge {
  Settings settings;
  Items items;
  bool moves;
};

// Layers of 784 x 37, 37 x 23 and 23 x 10: 29008, 851 and 230 weights. Uniform budgets hold
// ceil(density x weights), of which a layer's items follow.
std::vector<Edge> edges() {
  const Settings fan_in = {{"granularity", "fan_in"}, {"budget", "uniform"}};
  const Settings block = {{"granularity", "block"}, {"budget", "uniform"}};
  const auto n_m = [](const std::string& n, const std::string& m, const std::string& density) {
    return Settings{{"granularity", "n_m"}, {"nm_n", n}, {"nm_m", m}, {"density", density}};
  };
  const auto at = [](const Settings& granularity, const std::string& density) {
    return with(granularity, {{"density", density}});
  };
  return {
      // Everything: what is dropped is all that can grow.
      {at(fan_in, "1"), {29008, 851, 230}, false},
      {n_m("4", "4", "1"), {29008, 851, 230}, false},
      {at(block, "1"), {196 * 10, 10 * 6, 6 * 3}, false},
      // One input of each unit, however small the density; 55 / 37 rounds to one, 56 / 37 to two
      // (the other layers' ceil(1.61) and ceil(1.64) are less than one each).
      {at(fan_in, "1e-9"), {37, 23, 10}, true},
      {at(fan_in, "0.001894"), {37, 23, 10}, true},
      {at(fan_in, "0.001928"), {2 * 37, 23, 10}, true},
      // One of each unit's inputs: a group as long as the largest layer's, shorter ones round up.
      {n_m("1", "784", "0.0012755102040816326"), {37, 23, 10}, true},
      // Two groups of 392 inputs in the first layer.
      {n_m("1", "392", "0.002551020408163265"), {2 * 37, 23, 10}, true},
      // One block of a layer; of 1960 blocks, 29 weights are 1.96 and 30 are 2.03. A drop of 0.3 of
      // so few is none.
      {at(block, "1e-9"), {1, 1, 1}, false},
      {at(block, "0.00099"), {1, 1, 1}, false},
      {at(block, "0.00103"), {2, 1, 1}, false},
      // 60 weights are 4.05 blocks: one of four goes and one comes.
      {at(block, "0.00206"), {4, 1, 1}, true},
  };
}

}  // namespace

TEST_CASE("RigL with a drop fraction of zero never changes a mask", "[conformance]") {
  // The sparse storage serves single weights alone.
  std::vector<Settings> all = granularities();
  all.push_back({{"granularity", "element"}, {"storage", "masked"}});
  all.push_back({{"granularity", "element"}, {"storage", "sparse"}});
  for (const Settings& said : all) {
    CAPTURE(said);
    Run run(moving_rigl(with(said, {{"drop_fraction", "0"}})));
    Items items;
    for (const Linear* layer : run.trainer.model().linears()) {
      items.push_back(require_held(*layer, granularity_of(run.config)));
    }
    REQUIRE_FALSE(run.walk(items));
  }
}

TEST_CASE("RigL holds every granularity at the edges of density", "[conformance]") {
  for (const Edge& edge : edges()) {
    CAPTURE(edge.settings);
    Run run(moving_rigl(edge.settings));
    REQUIRE(run.walk(edge.items) == edge.moves);
  }
}

TEST_CASE("densities that no layer or no group can hold are refused", "[conformance]") {
  const auto start = [](const Settings& said) { Run run(moving_rigl(said)); };
  for (const std::string granularity : {"fan_in", "block"}) {
    CAPTURE(granularity);
    CHECK_THROWS_WITH(start({{"granularity", granularity}, {"density", "0"}}),
                      Contains("density 0") && Contains("above 0"));
    CHECK_THROWS_WITH(start({{"granularity", granularity}, {"density", "1e-15"}}),
                      Contains("without any connection") && Contains("layer0"));
  }
  // One density fits: none just above it, and no other.
  for (const std::string density : {"0.0013", "1"}) {
    CAPTURE(density);
    CHECK_THROWS_WITH(
        start({{"granularity", "n_m"}, {"nm_n", "1"}, {"nm_m", "784"}, {"density", density}}),
        Contains("--nm-m 784") && Contains("give --density 0.00127551"));
  }
  CHECK_THROWS_AS(start({{"granularity", "fan_in"}, {"density", "0"}}), ConfigError);
  CHECK_THROWS_AS(start({{"granularity", "block"}, {"density", "1e-15"}}), ConfigError);
  CHECK_THROWS_AS(start({{"granularity", "n_m"}, {"density", "1"}}), ConfigError);
}

}  // namespace tandem::test::train_granularity_conformance
