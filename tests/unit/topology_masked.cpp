// Drop, grow, rank and finish of the masked storage, by hand on small layers.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "topology/criteria.h"
#include "topology/masked_connections.h"
#include "topology/saved_topology.h"

namespace tandem::test::topology_masked_unit {
namespace {

using Flags = std::vector<int>;

torch::Tensor flags_tensor(const Flags& flags) {
  return torch::tensor(flags, torch::kInt).to(torch::kByte);
}

// One layer of `replicas` copies of a row of values, [R,1,n].
struct Layer {
  Parameter parameter;
  std::unique_ptr<MaskedConnections> connections;

  Layer(const std::vector<double>& values, const Flags& mask, std::int64_t replicas = 1) {
    const auto n = static_cast<std::int64_t>(values.size());
    parameter.name = "layer.weight";
    parameter.value = torch::tensor(values, torch::kDouble)
                          .view({1, 1, n})
                          .repeat({replicas, 1, 1})
                          .requires_grad_(true);
    const auto m = mask.empty() ? torch::Tensor() : flags_tensor(mask).repeat({replicas});
    connections = std::make_unique<MaskedConnections>(parameter, m);
  }
  void set_gradient(const std::vector<double>& gradient) {
    parameter.value.mutable_grad() = torch::tensor(gradient, torch::kDouble)
                                         .view({1, 1, connections->positions()})
                                         .repeat({connections->replicas(), 1, 1});
  }
  Flags mask(std::int64_t r = 0) const {
    const auto row = connections->active_flags().view({connections->replicas(), -1})[r];
    Flags flags;
    for (std::int64_t i = 0; i < row.numel(); ++i) flags.push_back(row[i].item<int>());
    return flags;
  }
  std::vector<double> row(const torch::Tensor& flat, std::int64_t r = 0) const {
    const auto values = flat.view({connections->replicas(), -1})[r].contiguous();
    return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
  }
  std::vector<double> values(std::int64_t r = 0) const { return row(parameter.flat(), r); }
};

TopologyChange change_of(std::int64_t count) { return {{1}, {count}, {42}}; }

}  // namespace

TEST_CASE("drop takes the smallest of the active, ties to the smaller index", "[unit]") {
  Layer layer({0.1, -0.1, 3, -2, 0.1, 0}, {1, 1, 1, 1, 1, 0});
  layer.connections->drop(change_of(2), criterion("magnitude"));
  CHECK(layer.mask() == Flags{0, 0, 1, 1, 1, 0});
  CHECK(layer.connections->active(0) == 3);
  CHECK(layer.values() == std::vector<double>{0.1, -0.1, 3, -2, 0.1, 0});  // until finish
  layer.connections->finish(change_of(0), true);
  CHECK(layer.values() == std::vector<double>{0, 0, 3, -2, 0.1, 0});
}

TEST_CASE("finish without zero_dormant leaves values and slots", "[unit]") {
  Layer layer({1, 2, 3}, {});
  layer.parameter.slot("momentum", 5);
  layer.connections->drop(change_of(1), criterion("magnitude"));
  layer.connections->finish(change_of(0), false);
  CHECK(layer.mask() == Flags{0, 1, 1});
  CHECK(layer.values() == std::vector<double>{1, 2, 3});
  CHECK(layer.row(layer.parameter.slot("momentum")) == std::vector<double>{5, 5, 5});
}

TEST_CASE("SET's rule takes the share of each sign nearest zero", "[unit]") {
  Layer layer({-1, -0.5, -3, 0.2, 0.1, 9, 8, 0}, {1, 1, 1, 1, 1, 1, 1, 1});
  TopologyChange change = change_of(3);
  change.negatives = {1};
  layer.connections->drop(change, criterion("set_signed"));
  // One negative (-0.5) and two others: the zero, which counts as positive, and 0.1.
  CHECK(layer.mask() == Flags{1, 0, 1, 1, 0, 1, 1, 0});
}

TEST_CASE("gradient growth takes the largest of all that is not active", "[unit]") {
  Layer layer({1, 0, 0, 2, 0.5}, {1, 0, 0, 1, 1});
  layer.set_gradient({0.1, -4, 3, 100, 0.2});
  layer.connections->grow(change_of(1), criterion("gradient"), {0, true, {42}});
  CHECK(layer.mask() == Flags{1, 1, 0, 1, 1});
  layer.connections->finish(change_of(0), true);
  CHECK(layer.connections->active(0) == 4);
}

TEST_CASE("a position dropped and regrown keeps its value and slots, or is born anew", "[unit]") {
  for (const bool keep : {true, false}) {
    CAPTURE(keep);
    Layer layer({0.1, 5, 0, 0}, {1, 1, 0, 0});
    layer.parameter.slot("momentum", 0).copy_(torch::tensor({1., 2., 3., 4.}, torch::kDouble));
    layer.parameter.slot("birth", 7).zero_();
    layer.set_gradient({10, 0, 0, 9});
    layer.connections->drop(change_of(1), criterion("magnitude"));
    CHECK(layer.mask() == Flags{0, 1, 0, 0});
    layer.connections->grow(change_of(2), criterion("gradient"), {0, keep, {42}});
    layer.connections->finish(change_of(0), true);
    CHECK(layer.mask() == Flags{1, 1, 0, 1});
    CHECK(layer.values() == std::vector<double>{keep ? 0.1 : 0, 5, 0, 0});
    const double first = keep ? 1 : 0;
    CHECK(layer.row(layer.parameter.slot("momentum")) == std::vector<double>{first, 2, 3, 0});
    CHECK(layer.row(layer.parameter.slot("birth")) == std::vector<double>{keep ? 0. : 7., 0, 0, 7});
  }
}

TEST_CASE("what was dropped in an earlier update is truly new when it comes back", "[unit]") {
  Layer layer({0.1, 5, 0}, {1, 1, 0});
  layer.connections->drop(change_of(1), criterion("magnitude"));
  layer.connections->finish(change_of(0), false);  // the value stays: a stale dormant one
  layer.set_gradient({10, 0, 0});
  layer.connections->grow(change_of(1), criterion("gradient"), {0, true, {42}});
  layer.connections->finish(change_of(0), false);
  CHECK(layer.values() == std::vector<double>{0, 5, 0});
}

TEST_CASE("newborn values are normal draws keyed by position", "[unit]") {
  const auto born = [](const Flags& mask, std::uint64_t key) {
    Layer layer(std::vector<double>(6, 0.0), mask);
    layer.connections->grow({{1}, {2}, {}}, criterion("random"), {0.1, true, {key}});
    return layer;
  };
  const Layer layer = born({0, 1, 0, 1, 1, 1}, 9);
  CHECK(layer.values()[0] != 0);
  CHECK(layer.values()[2] != 0);
  CHECK(std::abs(layer.values()[0]) < 0.7);
  CHECK(layer.values()[1] == 0);
  CHECK(layer.values() == born({0, 1, 0, 1, 1, 1}, 9).values());
  CHECK(layer.values() != born({0, 1, 0, 1, 1, 1}, 10).values());
  CHECK(layer.values()[2] == born({1, 1, 0, 0, 1, 1}, 9).values()[2]);
}

TEST_CASE("rank lets dormant values compete", "[unit]") {
  Layer layer({1, -4, 2, 3}, {1, 0, 1, 0});
  layer.connections->rank(change_of(2), criterion("magnitude"), false);
  layer.connections->finish(change_of(0), false);
  CHECK(layer.mask() == Flags{0, 1, 0, 1});
  CHECK(layer.values() == std::vector<double>{1, -4, 2, 3});
  layer.connections->rank(change_of(1), criterion("magnitude"), true);
  CHECK(layer.mask() == Flags{0, 1, 0, 0});
  CHECK(layer.values() == std::vector<double>{1, -4, 2, 0});  // only what left the mask is cleared
  CHECK(layer.connections->active(0) == 1);
}

TEST_CASE("replicas that are not due stay as they are", "[unit]") {
  Layer layer({1, 2, 3, 4}, {}, 4);
  const TopologyChange change{{1, 0, 1, 1}, {1, 4, 2, 3}, {1, 2, 3, 4}};
  layer.connections->drop(change, criterion("magnitude"));
  layer.connections->finish(change, true);
  CHECK(layer.mask(0) == Flags{0, 1, 1, 1});
  CHECK(layer.mask(1) == Flags{1, 1, 1, 1});
  CHECK(layer.mask(2) == Flags{0, 0, 1, 1});
  CHECK(layer.mask(3) == Flags{0, 0, 0, 1});
  CHECK(layer.values(1) == std::vector<double>{1, 2, 3, 4});
  CHECK(layer.values(3) == std::vector<double>{0, 0, 0, 4});
  CHECK(layer.connections->active(1) == 4);
}

TEST_CASE("topologies come back, also from the packed masks of before", "[unit]") {
  Layer layer(std::vector<double>(11, 1.0), {1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1}, 2);
  const auto bytes = [](const std::vector<int>& values) { return flags_tensor(values); };
  const auto saved = [&](std::int64_t replica) {
    return SavedTopology::load(layer.connections->save_topology(replica), "w", 1, 11);
  };
  CHECK(saved(0).mask.positions() == std::vector<std::int64_t>{0, 3, 7, 9, 10});
  layer.connections->load_topology(1, bytes({0xFF, 0x00}));
  CHECK(layer.connections->active(1) == 8);
  CHECK(layer.connections->active(0) == 5);
  CHECK(saved(1).mask.positions() == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(layer.connections->active_set(0).positions() == std::vector<std::int64_t>{0, 3, 7, 9, 10});
  const auto sets = layer.connections->active_sets({0, 1});
  CHECK_FALSE(sets[0].known());
  CHECK(sets[1].hash() == layer.connections->active_set(1).hash());
  CHECK_THROWS_AS(layer.connections->load_topology(0, bytes({0xFF})), StoreError);
  CHECK_THROWS_AS(layer.connections->load_topology(0, torch::zeros({2}, torch::kLong)), StoreError);
  layer.connections->load_topology(1, {});
  CHECK(layer.connections->active(1) == 11);
  CHECK(layer.mask(1) == Flags(11, 1));
  Layer full(std::vector<double>(11, 1.0), {});
  CHECK_FALSE(full.connections->active_flags().defined());
  CHECK_FALSE(full.connections->save_topology(0).defined());
  CHECK(full.connections->active_set(0).count() == 11);
  CHECK(full.connections->active(0) == 11);
  full.connections->load_topology(0, bytes({0x03, 0x04}));
  CHECK(full.mask() == Flags{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1});
}

TEST_CASE("a dense storage shows its values and flags", "[unit]") {
  Layer layer({1, 2, 3}, {1, 0, 1}, 2);
  CHECK(layer.connections->is_dense());
  CHECK(layer.connections->dense_values().equal(layer.parameter.value));
  CHECK_FALSE(layer.connections->dense_values().requires_grad());
  CHECK(layer.connections->dense_flags().equal(flags_tensor({1, 0, 1, 1, 0, 1}).view({2, 3})));
  Layer full({1, 2, 3}, {}, 2);
  CHECK(full.connections->dense_flags().equal(torch::ones({2, 3}, torch::kByte)));
  CHECK_FALSE(full.connections->active_flags().defined());
}

TEST_CASE("initial scales are of the density or of each unit's fan-in", "[unit]") {
  const auto layer = [](const torch::Tensor& mask) {
    auto parameter = std::make_unique<Parameter>();
    parameter->value = torch::ones({2, 4, 2}, torch::kDouble).requires_grad_(true);
    auto connections = std::make_unique<MaskedConnections>(*parameter, mask);
    return std::pair(std::move(parameter), std::move(connections));
  };
  // Unit 0 has one of 4 inputs, unit 1 none.
  const auto mask = flags_tensor({0, 0, 1, 0, 0, 0, 0, 0}).repeat({2});
  const auto ones = torch::ones({4, 2}, torch::kDouble);
  const auto [by_unit, units] = layer(mask);
  units->scale(1, Start::InitScale::kFanIn);
  units->scale(1, Start::InitScale::kDense);
  CHECK(by_unit->value[0].equal(ones));
  CHECK(by_unit->value[1].equal(2 * ones));  // sqrt(4 / 1), for unit 1 as if it had one
  const auto [by_density, whole] = layer(mask);
  whole->scale(0, Start::InitScale::kDensity);
  CHECK(by_density->value[0].equal(ones / torch::full({}, 0.125, torch::kDouble).sqrt()));
  CHECK(by_density->value[1].equal(ones));
  const auto [same, everything] = layer({});
  everything->scale(0, Start::InitScale::kFanIn);
  CHECK(same->value.equal(torch::ones({2, 4, 2}, torch::kDouble)));
}

TEST_CASE("a product gives relu of the one output asked for", "[unit]") {
  Layer layer({1, -2, 3}, {1, 1, 0});
  const auto x = torch::tensor({2.}, torch::kDouble).view({1, 1, 1});
  const auto row = [](const std::vector<double>& values) {
    return torch::tensor(values, torch::kDouble).view({1, 1, 3});
  };
  ProductPlan plan;
  plan.relu = true;
  CHECK(layer.connections->product(x, {}, plan).full.equal(row({2, 0, 6})));
  plan.full = false;
  plan.sparse = true;
  CHECK(layer.connections->product(x, {}, plan).sparse.equal(row({2, 0, 0})));
  plan.full = true;
  CHECK_THROWS(layer.connections->product(x, {}, plan));
  plan = {};
  plan.relu = plan.selected = true;
  plan.full = false;
  plan.full_runs = torch::tensor({false});
  CHECK(layer.connections->product(x, {}, plan).full.equal(row({2, 0, 0})));
  plan.relu = false;
  CHECK(layer.connections->product(x, {}, plan).full.equal(row({2, -4, 0})));
  layer.connections->set_zero_dormant(true);
  plan = {};
  plan.full = false;
  plan.sparse = plan.relu = true;
  CHECK(layer.connections->product(x, {}, plan).sparse.equal(row({2, 0, 0})));
}

TEST_CASE("visited scores cover all positions in order, with flags of what is asked", "[unit]") {
  Layer layer({-1, 2, -3}, {1, 0, 1}, 2), full({-1, 2, -3}, {});
  const auto visit = [](const Layer& of, std::int64_t r, Candidates among) {
    torch::Tensor found;
    int blocks = 0;
    of.connections->visit_scores(r, criterion("magnitude"), among,
                                 [&](const at::Tensor& scores, const at::Tensor& flags) {
                                   ++blocks;
                                   CHECK(scores.equal(torch::tensor({1., 2., 3.}, torch::kDouble)));
                                   found = flags;
                                 });
    CHECK(blocks == 1);
    return found;
  };
  CHECK_FALSE(visit(layer, 1, Candidates::kAll).defined());
  CHECK(visit(layer, 1, Candidates::kActive).equal(flags_tensor({1, 0, 1})));
  CHECK(visit(layer, 1, Candidates::kInactive).equal(flags_tensor({0, 1, 0})));
  CHECK_FALSE(visit(full, 0, Candidates::kActive).defined());
  CHECK(visit(full, 0, Candidates::kInactive).equal(flags_tensor({0, 0, 0})));
}

TEST_CASE("layers of several blocks are visited in order", "[unit]") {
  Parameter parameter;
  const std::int64_t n = (1 << 20) + 5;
  parameter.value = torch::arange(n, torch::kFloat).view({1, 1, n});
  MaskedConnections connections(parameter, torch::arange(n).remainder(2).to(torch::kByte));
  std::vector<at::Tensor> scores, flags;
  connections.visit_scores(0, criterion("magnitude"), Candidates::kActive,
                           [&](const at::Tensor& block, const at::Tensor& among) {
                             scores.push_back(block);
                             flags.push_back(among);
                           });
  CHECK(scores.size() == 2);
  CHECK(torch::cat(scores).equal(parameter.value.view(-1)));
  CHECK(torch::cat(flags).equal(connections.active_flags()));
}

TEST_CASE("zero_dormant clears what lies outside the mask", "[unit]") {
  Layer layer({-1, 2, -3}, {1, 0, 1});
  layer.connections->set_zero_dormant(true);
  CHECK(layer.values() == std::vector<double>{-1, 0, -3});
}

TEST_CASE("parameters have segments and slots", "[unit]") {
  Layer layer({1, 2, 3}, {}, 2);
  CHECK(layer.parameter.replicas() == 2);
  CHECK(layer.parameter.segments() == std::vector<std::int64_t>{0, 3, 6});
  CHECK(layer.parameter.connections == layer.connections.get());
  const auto slot = layer.parameter.slot("count", 4);
  CHECK(slot.equal(torch::full({6}, 4., torch::kDouble)));
  CHECK(layer.parameter.slot("count", 9).data_ptr() == slot.data_ptr());
  layer.parameter.flat().fill_(8);
  CHECK(layer.values(1) == std::vector<double>{8, 8, 8});
  Parameter bias;
  bias.value = torch::zeros({4, 5});
  CHECK(bias.replicas() == 4);
  CHECK(bias.segments() == std::vector<std::int64_t>{0, 5, 10, 15, 20});
}

TEST_CASE("criteria are found by name", "[unit]") {
  CHECK(criterion("gradient").needs_gradient);
  CHECK(criterion("random").random);
  CHECK(criterion("set_signed").per_sign);
  CHECK_THROWS_AS(criterion("magnitud"), ConfigError);
}

}  // namespace tandem::test::topology_masked_unit
