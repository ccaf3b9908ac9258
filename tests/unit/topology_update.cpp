// Initial masks, and the interpreter of topology rules over several layers.
#include "topology/topology_update.h"

#include <catch2/catch.hpp>
#include <memory>

#include "core/error.h"
#include "data/tensor.h"
#include "listed_connections.h"
#include "support/topology_support.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"

namespace tandem::test::topology_update_unit {
namespace {

using Operation = TopologyOperation;
using Counts = std::vector<std::int64_t>;

// Layers 6x5 and 5x4, `replicas` of them, with W drawn from a fixed seed.
struct Net {
  std::vector<LayerShape> shapes = {{"layer1", 6, 5, false}, {"layer2", 5, 4, false}};
  std::vector<Start> starts;
  std::vector<std::uint64_t> keys;
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<std::unique_ptr<MaskedConnections>> layers;

  Net(std::int64_t replicas, Start::Pattern pattern, double density) {
    torch::manual_seed(3);
    Start start;
    start.pattern = pattern;
    start.budget = Start::Budget::kUniform;
    start.density = density;
    starts.assign(static_cast<std::size_t>(replicas), start);
    for (std::int64_t r = 0; r < replicas; ++r) keys.push_back(stream_key(r, "topology"));
    std::vector<at::Tensor> weights;
    for (const auto& shape : shapes) {
      weights.push_back(torch::randn({replicas, shape.inputs, shape.outputs}, torch::kDouble));
    }
    const auto masks = test::start_masks(starts, shapes, weights, keys);
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      parameters.push_back(std::make_unique<Parameter>());
      parameters[l]->name = shapes[l].name;
      parameters[l]->value = weights[l].requires_grad_(true);
      parameters[l]->value.mutable_grad() = torch::randn(weights[l].sizes(), torch::kDouble);
      layers.push_back(std::make_unique<MaskedConnections>(*parameters[l], masks[l]));
    }
  }
  TopologyUpdater updater(const TopologyRule& rule) {
    std::vector<Connections*> pointers;
    for (const auto& layer : layers) pointers.push_back(layer.get());
    return {pointers, shapes, std::vector<TopologyRule>(starts.size(), rule), starts, keys};
  }
  UpdateMoment moment(double progress, std::int64_t number = 1) const {
    return {std::vector<char>(starts.size(), 1), std::vector<double>(starts.size(), progress),
            std::vector<std::int64_t>(starts.size(), number)};
  }
  // |W| of a layer's replica as a flat row.
  torch::Tensor magnitude(std::size_t l, std::int64_t r) const {
    return parameters[l]->flat().view({static_cast<std::int64_t>(starts.size()), -1})[r].abs();
  }
};

TopologyRule rule_of(std::vector<Operation> operations, double fraction = 0.3) {
  TopologyRule rule;
  rule.operations = std::move(operations);
  rule.drop_fraction = fraction;
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  return rule;
}

}  // namespace

TEST_CASE("initial masks have exact counts and their own keys", "[unit]") {
  const torch::Tensor w = torch::randn({3, 10, 10});
  const std::vector<std::uint64_t> keys = {1, 2, 1};
  const auto random = initial_mask(Start::Pattern::kRandom, w, {10, 20, 10}, keys);
  CHECK(random.sum(1).equal(torch::tensor({10, 20, 10})));
  CHECK(random[0].equal(random[2]));
  const auto largest = initial_mask(Start::Pattern::kMagnitude, w, {10, 20, 100}, keys);
  CHECK(largest.sum(1).equal(torch::tensor({10, 20, 100})));
  const auto kept = w[1].abs().view(-1).masked_select(largest[1].to(torch::kBool));
  const auto left = w[1].abs().view(-1).masked_select(largest[1].eq(0));
  CHECK(kept.min().item<float>() >= left.max().item<float>());
  CHECK_FALSE(initial_mask(Start::Pattern::kDense, w, {10, 20, 10}, keys).defined());
  CHECK_FALSE(initial_mask(Start::Pattern::kRandom, w, {100, 100, 100}, keys).defined());
}

TEST_CASE("drop then grow keeps the budget of each layer", "[unit]") {
  Net net(2, Start::Pattern::kRandom, 0.5);
  auto updater = net.updater(rule_of(
      {{Operation::Kind::kDrop, "magnitude", false}, {Operation::Kind::kGrow, "gradient", false}}));
  const auto reports = updater.update(net.moment(0), true);
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].nnz == Counts{15, 15});
  CHECK(reports[1].nnz == Counts{10, 10});
  for (const auto& report : reports) {
    CHECK(report.dropped == report.grown);
    for (std::size_t r = 0; r < 2; ++r) {
      CHECK(report.dropped[r] <= (report.layer == 0 ? 4 : 3));  // int(0.3 x 15), int(0.3 x 10)
      const auto now = net.layers[report.layer]->active_set(static_cast<std::int64_t>(r));
      CHECK(report.mask_hash[r] == now.hash());
      CHECK(report.after[r].positions() == now.positions());
      CHECK(report.dropped[r] == report.before[r].count_without(now));
    }
  }
}

TEST_CASE("random growth never counts a regrown position as change", "[unit]") {
  Net net(1, Start::Pattern::kRandom, 0.5);
  const auto before = net.layers[0]->active_flags().clone();
  auto updater = net.updater(rule_of(
      {{Operation::Kind::kDrop, "random", false}, {Operation::Kind::kGrow, "random", false}}, 1.0));
  const auto reports = updater.update(net.moment(0), true);
  const auto after = net.layers[0]->active_flags();
  CHECK(reports[0].dropped[0] == (before.eq(1) & after.eq(0)).sum().item<std::int64_t>());
  CHECK(reports[0].grown[0] == reports[0].dropped[0]);
  CHECK(reports[0].dropped[0] < 15);
}

TEST_CASE("grow first goes above the budget and comes back", "[unit]") {
  Net net(1, Start::Pattern::kRandom, 0.5);
  for (const auto& parameter : net.parameters) parameter->flat().abs_().add_(1);
  auto updater = net.updater(rule_of(
      {{Operation::Kind::kGrow, "random", false}, {Operation::Kind::kDrop, "magnitude", false}}));
  const auto reports = updater.update(net.moment(0), true);
  CHECK(reports[0].nnz == Counts{15});
  // The newborn are zero and so the first to go: nothing has changed, and nothing is left behind.
  CHECK(reports[0].dropped == Counts{0});
  CHECK(net.parameters[0]->flat().ne(0).sum().item<int>() >= 15);
}

TEST_CASE("SET's rule counts each sign by itself", "[unit]") {
  Net net(2, Start::Pattern::kRandom, 0.5);
  const auto count = [&](std::size_t l, std::int64_t r, bool negative) {
    const auto w = net.parameters[l]->flat().view({2, -1})[r];
    const auto m = net.layers[l]->active_flags().view({2, -1})[r].ne(0);
    return ((negative ? w.lt(0) : w.ge(0)) & m).sum().item<std::int64_t>();
  };
  std::vector<std::int64_t> negatives, others;
  for (std::int64_t r = 0; r < 2; ++r) {
    negatives.push_back(count(0, r, true));
    others.push_back(count(0, r, false));
  }
  auto updater = net.updater(rule_of({{Operation::Kind::kDrop, "set_signed", false}}));
  const auto reports = updater.update(net.moment(0), true);
  for (std::int64_t r = 0; r < 2; ++r) {
    CHECK(count(0, r, true) == negatives[r] - floor_count(0.3, negatives[r]));
    CHECK(count(0, r, false) == others[r] - floor_count(0.3, others[r]));
    CHECK(reports[0].nnz[r] == count(0, r, true) + count(0, r, false));
  }
}

TEST_CASE("prune to a cubic budget", "[unit]") {
  Net net(1, Start::Pattern::kDense, 0.2);
  TopologyRule rule = rule_of({{Operation::Kind::kPruneTo, "magnitude", false}});
  rule.budget_schedule = TopologyRule::BudgetSchedule::kCubic;
  auto updater = net.updater(rule);
  // density(1/2) = 0.2 + 0.8/8 = 0.3
  CHECK(updater.update(net.moment(0.5), true)[0].nnz == Counts{9});
  CHECK(updater.update(net.moment(0.5), true)[0].dropped == Counts{0});
  const auto reports = updater.update(net.moment(1), true);
  CHECK(reports[0].nnz == Counts{6});
  CHECK(reports[1].nnz == Counts{4});
  CHECK(net.parameters[1]->flat().ne(0).sum().item<int>() == 4);
}

TEST_CASE("whole-net operations rank all layers together", "[unit]") {
  Net net(2, Start::Pattern::kDense, 0.3);
  auto updater = net.updater(rule_of({{Operation::Kind::kRank, "magnitude", true}}));
  const auto reports = updater.update(net.moment(0), false);
  for (std::int64_t r = 0; r < 2; ++r) {
    CHECK(reports[0].nnz[r] + reports[1].nnz[r] == 15);  // 9 of 30 and 6 of 20
    const auto all = torch::cat({net.magnitude(0, r), net.magnitude(1, r)});
    const auto flags = torch::cat({net.layers[0]->active_flags().view({2, -1})[r],
                                   net.layers[1]->active_flags().view({2, -1})[r]});
    const auto kept = all.masked_select(flags.ne(0)), left = all.masked_select(flags.eq(0));
    CHECK(kept.min().item<double>() > left.max().item<double>());
  }
}

TEST_CASE("whole-net growth gives back as many as were dropped in all layers", "[unit]") {
  for (const std::string growth : {"gradient", "random"}) {
    CAPTURE(growth);
    Net net(2, Start::Pattern::kRandom, 0.5);
    auto updater = net.updater(rule_of(
        {{Operation::Kind::kDrop, "magnitude", true}, {Operation::Kind::kGrow, growth, true}}));
    const auto reports = updater.update(net.moment(0), true);
    for (std::size_t r = 0; r < 2; ++r) CHECK(reports[0].nnz[r] + reports[1].nnz[r] == 25);
  }
}

TEST_CASE("whole-net growth takes the largest gradients of all layers", "[unit]") {
  Net net(1, Start::Pattern::kRandom, 0.5);
  const auto flags = [&] {
    return torch::cat({net.layers[0]->active_flags(), net.layers[1]->active_flags()}).ne(0);
  };
  const auto before = flags();
  // What is active has the largest of all and takes no part.
  const auto active = net.layers[1]->active_flags().view({1, 5, 4});
  net.parameters[1]->value.mutable_grad().add_(100 * active);
  auto updater = net.updater(rule_of({{Operation::Kind::kGrow, "gradient", true}}));
  const auto reports = updater.update(net.moment(0), true);
  CHECK(reports[0].grown[0] + reports[1].grown[0] == 7);  // int(0.3 x 25)
  const auto gradients = torch::cat({net.parameters[0]->value.grad().abs().view(-1),
                                     net.parameters[1]->value.grad().abs().view(-1)});
  CHECK(gradients.masked_select(flags() & ~before).min().item<double>() >
        gradients.masked_select(~flags()).max().item<double>());
}

TEST_CASE("whole-net choices break ties by layer, then position", "[unit]") {
  for (const bool single : {false, true}) {
    CAPTURE(single);
    Net net(1, Start::Pattern::kDense, 0.5);
    for (const auto& parameter : net.parameters) {
      parameter->flat().fill_(2);
      if (!single) continue;
      parameter->value = parameter->value.detach().to(torch::kFloat).requires_grad_(true);
    }
    // 25 of 50 stay: the 5 that are larger, and the first 20 of the 45 that tie.
    net.parameters[1]->flat().slice(0, 10, 15).fill_(-3);
    auto updater = net.updater(rule_of({{Operation::Kind::kRank, "magnitude", true}}));
    const auto reports = updater.update(net.moment(0), false);
    CHECK(reports[0].nnz == Counts{20});
    CHECK(reports[1].nnz == Counts{5});
    CHECK(net.layers[0]->active_set(0).positions().back() == 19);
    CHECK(net.layers[1]->active_set(0).positions() == Counts{10, 11, 12, 13, 14});
  }
}

TEST_CASE("storages are told of a gradient that some criterion will read", "[unit]") {
  Net net(1, Start::Pattern::kRandom, 0.5);
  std::vector<Parameter> parameters(2);
  std::vector<std::unique_ptr<ListedConnections>> layers;
  std::vector<Connections*> pointers;
  for (std::size_t l = 0; l < 2; ++l) {
    layers.push_back(std::make_unique<ListedConnections>(
        parameters[l], net.shapes[l].inputs, net.shapes[l].outputs,
        std::vector<std::vector<std::int64_t>>{{0, 3}}));
    pointers.push_back(layers.back().get());
  }
  net.shapes[1].exempt = true;
  const auto updater = [&](const std::string& growth) {
    return TopologyUpdater(pointers, net.shapes,
                           {rule_of({{Operation::Kind::kDrop, "magnitude", false},
                                     {Operation::Kind::kGrow, growth, false}})},
                           net.starts, net.keys);
  };
  updater("random").expect_gradient(true);
  CHECK(layers[0]->expectations.empty());
  updater("gradient").expect_gradient(true);
  updater("gradient").expect_gradient(false);
  CHECK(layers[0]->expectations == std::vector<bool>{true, false});
  CHECK(layers[1]->expectations.empty());
}

TEST_CASE("exempt layers and replicas that are not due are left alone", "[unit]") {
  Net net(2, Start::Pattern::kRandom, 0.5);
  net.shapes[1].exempt = true;
  const auto before = net.layers[1]->active_set(0).hash(),
             other = net.layers[0]->active_set(1).hash();
  auto updater = net.updater(rule_of({{Operation::Kind::kDrop, "magnitude", false}}));
  auto moment = net.moment(0);
  moment.due[1] = 0;
  const auto reports = updater.update(moment, true);
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].layer == 0);
  CHECK(reports[0].nnz == Counts{11, 15});
  CHECK(reports[0].dropped == Counts{4, 0});
  CHECK(reports[0].mask_hash[1].empty());
  CHECK_FALSE(reports[0].before[1].known());
  CHECK_FALSE(reports[0].after[1].known());
  CHECK(net.layers[1]->active_set(0).hash() == before);
  CHECK(net.layers[0]->active_set(1).hash() == other);
}

TEST_CASE("impossible rules are config errors", "[unit]") {
  Net net(1, Start::Pattern::kRandom, 0.5);
  CHECK_THROWS_AS(net.updater(rule_of({{Operation::Kind::kDrop, "no_such", false}})), ConfigError);
  CHECK_THROWS_AS(net.updater(rule_of({{Operation::Kind::kDrop, "set_signed", true}})),
                  ConfigError);
  CHECK_THROWS_AS(net.updater(rule_of({{Operation::Kind::kRank, "set_signed", false}})),
                  ConfigError);
  CHECK_THROWS_AS(net.updater(rule_of({{Operation::Kind::kGrow, "random", false},
                                       {Operation::Kind::kDrop, "set_signed", false}})),
                  ConfigError);
}

}  // namespace tandem::test::topology_update_unit
