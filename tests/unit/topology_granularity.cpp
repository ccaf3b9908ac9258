// Granularities: items and groups against plain loops in double, budgets, initial masks, and
// SRigL's ablation by hand.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "core/error.h"
#include "data/tensor.h"
#include "policy/demands.h"
#include "policy/rules.h"
#include "topology/granularity.h"
#include "topology/initial_mask.h"
#include "topology/masked_connections.h"
#include "topology/storage.h"

namespace tandem::test::topology_granularity_unit {

using Catch::Matchers::Contains;

namespace {

using Counts = std::vector<std::int64_t>;

Granularity fan_in() { return {.kind = Granularity::Kind::kFanIn}; }
Granularity n_of_m(std::int64_t n, std::int64_t m) {
  return {.kind = Granularity::Kind::kNm, .n = n, .m = m};
}
Granularity blocks(std::int64_t side) { return {.kind = Granularity::Kind::kBlock, .block = side}; }

Counts counts_of(const at::Tensor& tensor) {
  const at::Tensor own = tensor.to(torch::kLong).contiguous();
  return {own.data_ptr<std::int64_t>(), own.data_ptr<std::int64_t>() + own.numel()};
}

// The `count` best of a set of positions: NaN last, ties to the smaller index.
std::set<std::int64_t> best_of(const std::vector<double>& scores, Counts positions,
                               std::int64_t count, bool largest) {
  std::stable_sort(positions.begin(), positions.end(), [&](std::int64_t a, std::int64_t b) {
    const double x = scores[a], y = scores[b];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return largest ? x > y : x < y;
  });
  return {positions.begin(), positions.begin() + count};
}

}  // namespace

TEST_CASE("groups choose what sorting each by itself would choose", "[unit]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  // Short groups, a short rest, groups that are rows of a selection, and whole units.
  const std::pair<Granularity, std::int64_t> cases[] = {
      {n_of_m(2, 4), 12}, {n_of_m(3, 5), 13}, {n_of_m(7, 20), 47}, {fan_in(), 29}, {fan_in(), 5}};
  for (const auto& [granularity, inputs] : cases) {
    const std::int64_t outputs = 3, rows = 2, n = inputs * outputs;
    const std::int64_t length = granularity.kind == Granularity::Kind::kNm ? granularity.m : inputs;
    const std::int64_t per_unit = (inputs + length - 1) / length;
    const Grouping grouping(granularity, inputs, outputs);
    for (const auto dtype : {torch::kFloat, torch::kDouble}) {
      for (const bool largest : {true, false}) {
        at::Tensor scores = torch::empty({rows, n}, torch::kDouble);
        at::Tensor eligible = torch::empty({rows, n}, torch::kByte);
        for (std::int64_t i = 0; i < rows * n; ++i) {  // few values, so that ties abound
          const double draw = static_cast<double>(random() % 5) - 2;
          scores.data_ptr<double>()[i] = random() % 9 == 0 ? std::nan("") : draw;
          eligible.data_ptr<std::uint8_t>()[i] = random() % 4 != 0;
        }
        at::Tensor counts = torch::zeros({rows, per_unit * outputs}, torch::kLong);
        at::Tensor expected = torch::zeros({rows, n}, torch::kByte);
        for (std::int64_t q = 0; q < rows; ++q) {
          const double* own = scores.data_ptr<double>() + q * n;
          for (std::int64_t g = 0; g < per_unit * outputs; ++g) {
            Counts positions;
            const std::int64_t first = g / outputs * length;
            for (std::int64_t i = first; i < std::min(inputs, first + length); ++i) {
              const std::int64_t position = i * outputs + g % outputs;
              if (eligible[q][position].item<int>() != 0) positions.push_back(position);
            }
            const auto count = static_cast<std::int64_t>(random() % (positions.size() + 1));
            counts[q][g] = count;
            for (const auto p : best_of({own, own + n}, positions, count, largest)) {
              expected[q][p] = 1;
            }
          }
        }
        CAPTURE(inputs, length, largest);
        CHECK(
            grouping.choose_in_groups(scores.to(dtype), eligible, counts, largest).equal(expected));
        CHECK(grouping.held(expected).equal(counts));
        const at::Tensor drawn = grouping.random_in_groups(eligible, counts, {{1}, {2}});
        CHECK(grouping.held(drawn).equal(counts));
        CHECK((drawn * eligible).equal(drawn));
        CHECK(grouping.random_in_groups(eligible.narrow(0, 1, 1), counts.narrow(0, 1, 1), {{2}})[0]
                  .equal(drawn[1]));
      }
    }
  }
}

TEST_CASE("groups without flags leave out what pads a shorter one", "[unit]") {
  const Grouping grouping(n_of_m(2, 4), 6, 2);  // a group of 4 and one of 2, per unit
  const at::Tensor scores = -torch::arange(12, torch::kFloat).view({1, 12});  // below the padding
  const at::Tensor counts = grouping.quotas({8});
  CHECK(counts_of(counts) == Counts{2, 2, 1, 1});
  const at::Tensor chosen = grouping.choose_in_groups(scores, {}, counts, /*largest=*/true);
  CHECK(counts_of(chosen) == Counts{1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0});
}

TEST_CASE("a block has the sum of |score| over what is eligible", "[unit]") {
  const std::int64_t inputs = 7, outputs = 5, side = 3, rows = 2;
  const Grouping grouping(blocks(side), inputs, outputs);
  CHECK(grouping.items() == 3 * 2);
  torch::manual_seed(4);
  const at::Tensor scores = torch::randn({rows, inputs * outputs}, torch::kDouble);
  const at::Tensor items = torch::tensor({1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0}).view({rows, 6});
  const at::Tensor flags = grouping.position_flags(items.to(torch::kByte));
  const at::Tensor sums = grouping.item_scores(scores, flags);
  for (std::int64_t q = 0; q < rows; ++q) {
    for (std::int64_t b = 0; b < 6; ++b) {
      double sum = 0;
      for (std::int64_t i = b / 2 * side; i < std::min(inputs, b / 2 * side + side); ++i) {
        for (std::int64_t o = b % 2 * side; o < std::min(outputs, b % 2 * side + side); ++o) {
          const std::int64_t p = i * outputs + o;
          CHECK(flags[q][p].item<int>() == items[q][b].item<int>());
          if (items[q][b].item<int>() != 0) sum += std::abs(scores[q][p].item<double>());
        }
      }
      CHECK(sums[q][b].item<double>() == Approx(sum).margin(1e-14));
    }
  }
  CHECK(grouping.item_flags(flags).equal(items.to(torch::kByte)));
  CHECK(grouping.item_scores(scores, {})[0].equal(
      grouping.item_scores(scores.narrow(0, 0, 1), {})[0]));
  const at::Tensor ties = grouping.choose(torch::ones({rows, 35}), flags, {2, 1}, false);
  // Partial blocks have the smaller sums; of equal ones the first.
  CHECK(counts_of(grouping.item_flags(ties)) == Counts{0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0});
}

TEST_CASE("an element is its own item", "[unit]") {
  const Grouping grouping({}, 3, 2);
  const at::Tensor scores = torch::randn({1, 6});
  CHECK(grouping.item_scores(scores, {}).is_same(scores));
  CHECK(grouping.position_flags(scores).is_same(scores));
  CHECK(grouping.items() == 6);
}

TEST_CASE("budgets are what a granularity can hold", "[unit]") {
  const LayerShape layer{"a", 10, 6, false};
  CHECK(budget_items(layer, {}, 17) == 17);
  CHECK(budget_items(layer, fan_in(), 26) == 24);  // 4.33 inputs for each
  CHECK(budget_items(layer, fan_in(), 27) == 30);  // 4.5
  CHECK(budget_items(layer, fan_in(), 1) == 6);
  CHECK(budget_items(layer, n_of_m(2, 4), 7) == 6 * (2 + 2 + 1));
  CHECK(budget_items(layer, n_of_m(1, 4), 7) == 6 * (1 + 1 + 1));  // of the last two, one
  CHECK(item_count(layer, blocks(4)) == 3 * 2);
  CHECK(budget_items(layer, blocks(4), 30) == 3);
  CHECK(budget_items(layer, blocks(4), 39) == 3);
  CHECK(budget_items(layer, blocks(4), 1) == 1);
  CHECK(budget_items(layer, blocks(4), 60) == 6);
  for (std::int64_t items = 1; items <= 6; ++items) {
    CHECK(budget_items(layer, blocks(4), budget_positions(layer, blocks(4), items)) == items);
  }
  Start start;
  start.granularity = n_of_m(2, 4);
  start.budget = Start::Budget::kEr;
  const std::vector<LayerShape> layers = {layer, {"b", 8, 4, false}, {"c", 5, 5, true}};
  const auto budgets = spread_budget(layers, start, 0.5);
  CHECK(budgets[0].active == 30);
  CHECK(budgets[1].active == 16);
  CHECK(budgets[2].active == 25);
  CHECK_THROWS_WITH(spread_budget(layers, start, 0.3), Contains("0.3") && Contains("0.5"));
  start.granularity = fan_in();
  const auto uneven = spread_budget(layers, start, 0.3);
  CHECK(uneven[0].active % 6 == 0);
  CHECK(uneven[1].active % 4 == 0);
  CHECK(uneven[0].density == static_cast<double>(uneven[0].active) / 60);
}

TEST_CASE("initial masks hold their granularity exactly", "[unit]") {
  torch::manual_seed(5);
  const at::Tensor w = torch::randn({2, 10, 6});
  const std::vector<std::uint64_t> keys = {11, 12};
  for (const auto pattern : {Start::Pattern::kRandom, Start::Pattern::kMagnitude}) {
    const auto mask = [&](const Granularity& granularity, std::int64_t active) {
      return initial_mask(pattern, w, {active, active}, keys, granularity);
    };
    CHECK(mask(fan_in(), 18).view({2, 10, 6}).sum(1).eq(3).all().item<bool>());
    CHECK(mask(n_of_m(2, 5), 24).view({2, 2, 5, 6}).sum(2).eq(2).all().item<bool>());
    const at::Tensor squares = mask(blocks(5), 30);
    const Grouping grouping(blocks(5), 10, 6);
    CHECK(grouping.item_flags(squares).sum(1).eq(2).all().item<bool>());
    CHECK(grouping.position_flags(grouping.item_flags(squares)).equal(squares));
    const at::Tensor units = mask(fan_in(), 18);
    CHECK_FALSE(units[0].equal(units[1]));
    CHECK_FALSE(mask(fan_in(), 60).defined());
  }
  const at::Tensor largest =
      initial_mask(Start::Pattern::kMagnitude, w, {18, 18}, keys, fan_in()).view({2, 10, 6});
  const at::Tensor kept = w.abs().masked_fill(largest.eq(0), 1e9).amin(1);
  const at::Tensor left = w.abs().masked_fill(largest.ne(0), -1).amax(1);
  CHECK(kept.gt(left).all().item<bool>());
}

TEST_CASE("impossible granularities are config errors", "[unit]") {
  using Operation = TopologyOperation;
  Policies policies;
  Start& start = policies.start;
  TopologyRule& rule = policies.topology;
  const auto check = [&policies] { check_policies(policies); };
  start.granularity = n_of_m(2, 4);
  start.density = 0.1;
  CHECK_THROWS_WITH(check(), Contains("0.1") && Contains("0.5"));
  start.density = 0.5;
  CHECK_NOTHROW(check());
  rule.operations = {{Operation::Kind::kPruneTo, "magnitude", false}};
  CHECK_THROWS_WITH(check(), Contains("prunes"));
  start.granularity = fan_in();
  CHECK_NOTHROW(check());
  rule.operations = {{Operation::Kind::kRank, "magnitude", true}};
  CHECK_THROWS_WITH(check(), Contains("whole net"));
  start.granularity = blocks(4);
  CHECK_NOTHROW(check());
  rule.operations = {{Operation::Kind::kDrop, "set_signed", false}};
  CHECK_THROWS_WITH(check(), Contains("--drop-rule magnitude"));
  start.granularity = fan_in();
  rule.operations = {};
  rule.redistribution = TopologyRule::Redistribution::kAveragedGradient;
  CHECK_THROWS_WITH(check(), Contains("between layers"));
}

TEST_CASE("units with few salient weights are ablated, the rest share the budget", "[unit]") {
  const auto quotas = [](const Counts& salient, std::int64_t budget, std::int64_t inputs,
                         double share) {
    const auto row = torch::tensor(salient, torch::kLong).unsqueeze(0);
    return counts_of(quotas_after_ablation(row, {budget}, inputs, share));
  };
  // 5 inputs each; below 0.3 x 5 = 1.5 is ablated. 20 / 3 leaves 2 out.
  CHECK(quotas({6, 1, 5, 8}, 20, 10, 0.3) == Counts{6, 0, 6, 6});
  CHECK(quotas({6, 2, 5, 8}, 20, 10, 0.3) == Counts{5, 5, 5, 5});
  CHECK(quotas({6, 2, 5, 8}, 20, 10, 0.4) == Counts{5, 5, 5, 5});  // 2 is not below 2
  // The budget needs two units at least, which hold 10 inputs each: the most salient ones.
  CHECK(quotas({3, 9, 3, 4}, 20, 10, 1.0) == Counts{0, 10, 0, 10});
  CHECK(quotas({3, 3, 3, 3}, 20, 10, 1.0) == Counts{10, 10, 0, 0});
  CHECK(quotas({0, 0, 0, 9}, 4, 10, 0.3) == Counts{0, 0, 0, 4});
}

namespace {

// One layer of 6 inputs and 3 units, each with its first 2 or 3 inputs; ablation as said.
struct Units {
  Parameter parameter;
  std::unique_ptr<MaskedConnections> connections;

  explicit Units(double ablation, std::int64_t inputs = 2) {
    Granularity granularity = fan_in();
    granularity.ablation = ablation;
    const at::Tensor values =
        torch::tensor({5., .1, 3., 4., .2, .3, 2., .05, 1.}, torch::kDouble).view({3, 3});
    at::Tensor mask = torch::zeros({1, 6, 3}, torch::kByte);
    mask.narrow(1, 0, inputs).fill_(1);
    at::Tensor value = torch::zeros({1, 6, 3}, torch::kDouble);
    value.narrow(1, 0, inputs).copy_(values.narrow(0, 0, inputs));
    parameter.name = "w";
    parameter.value = value.requires_grad_(true);
    connections = std::make_unique<MaskedConnections>(parameter, mask);
    connections->set_zero_dormant(true);
    connections->set_granularity(granularity);
  }
  // Drops `count` and grows by these gradients of the positions.
  void update(std::int64_t count, const at::Tensor& gradient) {
    parameter.value.mutable_grad() = gradient.view({1, 6, 3}).to(torch::kDouble);
    connections->drop({{1}, {count}, {7}}, criterion("magnitude"));
    connections->grow({{1}, {count}, {7}}, criterion("gradient"), {0, true, {7}});
    connections->finish({{1}, {0}}, true);
  }
  Counts held() const { return counts_of(connections->active_flags().view({6, 3}).sum(0)); }
  bool is_active(std::int64_t input, std::int64_t unit) const {
    return connections->active_flags()[input * 3 + unit].item<int>() != 0;
  }
};

}  // namespace

TEST_CASE("each unit grows back to the fan-in where its own gradient is largest", "[unit]") {
  Units units(0);
  const at::Tensor gradient = torch::arange(18);  // larger for later inputs
  units.update(2, gradient);                      // both inputs of unit 1 go
  CHECK(units.held() == Counts{2, 2, 2});
  CHECK(units.is_active(4, 1));
  CHECK(units.is_active(5, 1));
  CHECK(units.connections->active(0) == 6);
}

TEST_CASE("SRigL ablates a unit without salient weights and gives its inputs away", "[unit]") {
  Units units(0.3);
  at::Tensor gradient = torch::zeros({6, 3});
  gradient[2] = torch::tensor({9., 0., 8.});
  units.update(2, gradient);  // survivors: two of unit 0, two of unit 2; candidates (2,0), (2,2)
  CHECK(units.held() == Counts{3, 0, 3});
  CHECK(units.is_active(2, 0));
  CHECK(units.is_active(2, 2));
  CHECK(units.connections->active(0) == 6);
  CHECK(units.parameter.flat().view({6, 3}).select(1, 1).abs().sum().item<double>() == 0);

  // One that is saliently wanted comes back; the others give up their smallest.
  units.parameter.flat().view({6, 3})[2] = torch::tensor({0.5, 0., 2.}, torch::kDouble);
  gradient.zero_();
  gradient[3][1] = 7;
  units.update(1, gradient);  // (1,2) with 0.3 goes
  CHECK(units.held() == Counts{2, 2, 2});
  CHECK(units.is_active(3, 1));
  CHECK(units.is_active(0, 0));
  CHECK(units.is_active(1, 0));
  CHECK_FALSE(units.is_active(2, 0));  // 0.5, below 5 and 4
  CHECK(units.parameter.flat().view({6, 3})[2][0].item<double>() == 0);
}

TEST_CASE("what ablation leaves over is there again when units come back", "[unit]") {
  Units units(0.3, 3);
  at::Tensor gradient = torch::zeros({6, 3});
  gradient[3] = torch::tensor({9., 0., 8.});
  gradient[4][0] = 7;
  units.update(3, gradient);  // 9 connections for two units
  CHECK(units.held() == Counts{4, 0, 4});
  CHECK(units.connections->active(0) == 8);
  gradient.zero_();
  gradient.select(1, 1).narrow(0, 3, 3).copy_(torch::tensor({7., 6., 5.}));
  units.update(3, gradient);
  CHECK(units.held() == Counts{3, 3, 3});
}

TEST_CASE("the last layer's units are spared", "[unit]") {
  Start start;
  start.density = 0.5;
  start.granularity = fan_in();
  start.granularity.ablation = 0.3;
  const std::vector<LayerShape> layers = {{"a", 4, 4, false}, {"b", 4, 4, false}};
  const auto starts = layer_starts({start}, layers, {7});
  CHECK(starts[0].granularity == start.granularity);
  CHECK(starts[1].granularity == fan_in());
}

TEST_CASE("without ablation the same case keeps all units", "[unit]") {
  Units units(0);
  at::Tensor gradient = torch::zeros({6, 3});
  gradient[2] = torch::tensor({9., 0., 8.});
  units.update(2, gradient);
  CHECK(units.held() == Counts{2, 2, 2});
  CHECK(units.is_active(0, 1));  // ties of a zero gradient go to the smaller index
}

TEST_CASE("a topology with ablated units comes back from a checkpoint", "[unit]") {
  Units units(0.3), resumed(0.3);
  at::Tensor gradient = torch::zeros({6, 3});
  gradient[2] = torch::tensor({9., 0., 8.});
  units.update(2, gradient);
  resumed.connections->load_topology(0, units.connections->save_topology(0));
  resumed.parameter.flat().copy_(units.parameter.flat());
  CHECK(resumed.held() == Counts{3, 0, 3});
  gradient.zero_();
  gradient[3][1] = 7;
  units.update(1, gradient);
  resumed.update(1, gradient);
  CHECK(resumed.connections->active_flags().equal(units.connections->active_flags()));
}

TEST_CASE("pruning under a constant fan-in lowers it for every unit alike", "[unit]") {
  Units units(0);
  TopologyChange change{{1}, {3}, {7}};
  change.prunes = true;
  units.connections->drop(change, criterion("magnitude"));
  units.connections->finish({{1}, {0}}, true);
  CHECK(units.held() == Counts{1, 1, 1});
  CHECK(units.is_active(0, 0));
  CHECK(units.is_active(1, 1));
  CHECK(units.is_active(0, 2));
}

TEST_CASE("growing first goes above the quotas and comes back to them", "[unit]") {
  Units units(0);
  at::Tensor gradient = torch::zeros({6, 3});
  gradient[5] = torch::tensor({3., 4., 0.});
  gradient[4] = torch::tensor({0., 5., 0.});
  units.parameter.value.mutable_grad() = gradient.view({1, 6, 3}).to(torch::kDouble);
  units.connections->grow({{1}, {3}, {7}}, criterion("gradient"), {0.5, true, {7}});
  CHECK(units.held() == Counts{3, 4, 2});
  units.connections->drop({{1}, {3}, {7}}, criterion("magnitude"));
  CHECK(units.held() == Counts{2, 2, 2});
}

TEST_CASE("blocks are counted as such, and active() counts positions", "[unit]") {
  Parameter parameter;
  parameter.name = "w";
  parameter.value = torch::ones({1, 5, 4}, torch::kFloat).requires_grad_(true);
  const Grouping grouping(blocks(2), 5, 4);  // 3 x 2 blocks; the last two have 2 positions
  const at::Tensor items = torch::tensor({1, 1, 0, 0, 1, 0}).to(torch::kByte).unsqueeze(0);
  MaskedConnections connections(parameter, grouping.position_flags(items));
  connections.set_granularity(blocks(2));
  CHECK(connections.items() == 6);
  CHECK(connections.active_items(0) == 3);
  CHECK(connections.active(0) == 10);
  parameter.value.mutable_grad() = torch::ones({1, 5, 4});
  connections.drop({{1}, {1}, {3}}, criterion("magnitude"));  // the partial one
  CHECK(connections.active_items(0) == 2);
  CHECK(connections.active(0) == 8);
  connections.grow({{1}, {1}, {3}}, criterion("gradient"), {0, true, {3}});
  CHECK(connections.active_items(0) == 3);
  CHECK(connections.active(0) == 12);
  std::vector<at::Tensor> seen;
  connections.visit_scores(0, criterion("magnitude"), Candidates::kActive,
                           [&](const at::Tensor& scores, const at::Tensor& flags) {
                             seen = {scores, flags};
                           });
  CHECK(seen[0].numel() == 6);
  CHECK(counts_of(seen[1]) == Counts{1, 1, 1, 0, 0, 0});
  connections.load_topology(0, {});
  CHECK(connections.active_items(0) == 6);
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.sets = {Support::kMask, Support::kMask};
  policies.dormant.kind = Dormant::Kind::kZero;
  CHECK(demands_of(policies).sparse_refusal.empty());
  policies.start.granularity = blocks(2);
  CHECK_THAT(demands_of(policies).sparse_refusal, Contains("granularity"));
}

}  // namespace tandem::test::topology_granularity_unit
