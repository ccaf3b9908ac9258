// Which runs the sparse storage serves, and sparse layers too large for a mask.
#include <catch2/catch.hpp>
#include <memory>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "policy/demands.h"
#include "support/train_support.h"
#include "topology/random_ranks.h"
#include "topology/storage.h"
#include "topology/topology_update.h"

namespace tandem::test::topology_storage_unit {
namespace {

using Catch::Contains;
using Kind = TopologyOperation::Kind;
using Positions = std::vector<std::int64_t>;

constexpr const char* kAccumulated = "test_refused_average";

Policies weights_of(const std::string& method) {
  return policies_of(test::small_run({{"weights", method}}), Level::kWeights);
}

Policies within_superset(const std::string& method, Settings more = {}) {
  more.merge(Settings{{"weights", method},
                      {"density", "0.1"},
                      {"superset_density", "0.3"},
                      {"superset_outside", "zero"}});
  return policies_of(test::small_run(more), Level::kWeights);
}

struct Layer {
  Parameter parameter;
  std::unique_ptr<Connections> connections;

  Layer(const InitialWeights& initial, const LayerStart& start) {
    parameter.name = "layer0.weight";
    connections = start_connections(parameter, initial, start);
    parameter.slot("momentum");
  }
  Positions positions(std::int64_t r = 0) const { return connections->active_set(r).positions(); }
};

struct Shape {
  std::int64_t inputs, outputs;
  std::vector<std::int64_t> active;  // [R]

  InitialWeights initial() const {
    InitialWeights weights;
    weights.scale = 0.5;
    weights.inputs = inputs;
    weights.outputs = outputs;
    for (std::size_t r = 0; r < active.size(); ++r) weights.streams.push_back({77 + r});
    return weights;
  }
  LayerStart start(Storage storage, std::uint64_t key = 5,
                   at::ScalarType dtype = torch::kFloat) const {
    LayerStart made;
    made.storage = storage;
    made.active = active;
    for (std::size_t r = 0; r < active.size(); ++r)
      made.keys.push_back(topology_key(key + r, 0, 0));
    made.dtype = dtype;
    return made;
  }
  TopologyUpdater updater(Layer& layer, const TopologyRule& rule) const {
    std::vector<std::uint64_t> keys;
    for (std::size_t r = 0; r < active.size(); ++r) keys.push_back(5 + r);
    const auto all = [this](const auto& one) { return std::vector(active.size(), one); };
    return TopologyUpdater({layer.connections.get()}, {{"layer0", inputs, outputs, false}},
                           all(rule), all(Start{}), keys);
  }
};

TopologyRule moves(const char* dropped_by, const char* grown_by) {
  TopologyRule rule;
  rule.operations = {{Kind::kDrop, dropped_by, false}, {Kind::kGrow, grown_by, false}};
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  rule.drop_fraction = 0.25;
  return rule;
}

UpdateMoment first_update(std::size_t replicas) {
  return {std::vector<char>(replicas, 1), std::vector<double>(replicas, 0.0),
          std::vector<std::int64_t>(replicas, 1)};
}

bool ascending(const Positions& positions, std::int64_t end) {
  std::int64_t last = -1;
  for (const std::int64_t position : positions) {
    if (position <= last || position >= end) return false;
    last = position;
  }
  return true;
}

// A replica's scores in order, zero where they are not asked for; all in [n].
at::Tensor scores_of(const Layer& layer, std::int64_t r, const Criterion& criterion,
                     Candidates among) {
  std::vector<at::Tensor> scores;
  layer.connections->visit_scores(
      r, criterion, among, [&](const at::Tensor& block, const at::Tensor& flags) {
        scores.push_back(flags.defined() ? block.masked_fill(flags.eq(0), 0) : block.clone());
      });
  const at::Tensor all = torch::cat(scores);
  if (all.numel() == layer.connections->positions()) return all;
  at::Tensor dense = torch::zeros({layer.connections->positions()}, all.options());
  return dense.index_copy_(0, torch::tensor(layer.positions(r), torch::kLong), all);
}

// Compares the scores of replica 1, after a backward pass that was expected.
void require_same_scores(Layer& masked, Layer& sparse) {
  Criterion saliency;
  saliency.name = "saliency";
  saliency.needs_gradient = true;
  saliency.slots = {"momentum"};
  saliency.score = [](const ScoreInputs& inputs) -> at::Tensor {
    return (inputs.weight * inputs.gradient).abs() + inputs.slots.at("momentum");
  };
  const at::Tensor momentum = torch::arange(sparse.parameter.flat().numel(), torch::kDouble);
  sparse.parameter.slot("momentum").copy_(momentum);
  masked.parameter.slot("momentum")
      .masked_scatter_(masked.connections->active_flags().ne(0), momentum);
  for (const Criterion& each : {criterion("magnitude"), criterion("gradient"), saliency}) {
    for (const Candidates among : {Candidates::kAll, Candidates::kActive, Candidates::kInactive}) {
      CAPTURE(each.name, static_cast<int>(among));
      CHECK(torch::allclose(scores_of(masked, 1, each, among), scores_of(sparse, 1, each, among),
                            1e-12, 1e-12));
    }
  }
}

// y = x W + b from the list of connections alone, [N,out].
at::Tensor product_by_hand(const Layer& layer, const at::Tensor& x, const at::Tensor& bias) {
  const std::int64_t outputs = bias.size(1);
  const Positions positions = layer.positions();
  at::Tensor y = bias[0].unsqueeze(0).repeat({x.size(1), 1}).contiguous();
  const at::Tensor values = layer.parameter.flat();
  auto sum = y.accessor<double, 2>();
  const auto in = x.accessor<double, 3>();
  for (std::size_t e = 0; e < positions.size(); ++e) {
    const std::int64_t i = positions[e] / outputs, o = positions[e] % outputs;
    const double w = values.data_ptr<double>()[e];
    for (std::int64_t n = 0; n < x.size(1); ++n) sum[n][o] += in[0][n][i] * w;
  }
  return y;
}

// Another object with other connections, which loads those of `layer`.
std::unique_ptr<Layer> loaded_again(const Layer& layer, std::int64_t units) {
  const Shape fewer{units, units, {1000}};
  auto made =
      std::make_unique<Layer>(fewer.initial(), fewer.start(Storage::kSparse, 99, torch::kDouble));
  Layer& other = *made;
  REQUIRE(other.positions() != layer.positions());
  other.connections->load_topology(0, layer.connections->save_topology(0));
  CHECK(other.parameter.value.requires_grad());
  REQUIRE(other.parameter.flat().sizes() == layer.parameter.flat().sizes());
  REQUIRE(other.parameter.slot("momentum").sizes() == other.parameter.flat().sizes());
  other.parameter.flat().copy_(layer.parameter.flat());
  return made;
}

}  // namespace

TEST_CASE("methods that need dormant weights are refused with the reason", "[unit]") {
  for (const char* method : {"dense", "ssa", "alternate", "sandwich"}) {
    INFO(method);
    CHECK_THAT(demands_of(weights_of(method)).sparse_refusal, Contains("full stream"));
  }
  for (const char* method : {"static", "set", "rigl", "gmp"}) {
    INFO(method);
    CHECK(demands_of(weights_of(method)).sparse_refusal.empty());
  }
}

TEST_CASE("each policy that leaves the mask is refused by itself", "[unit]") {
  Policies weights = weights_of("set");
  SECTION("gradient") {
    weights.sets.gradient = Support::kAll;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the mask get a gradient"));
  }
  SECTION("update") {
    weights.sets.update = Support::kStream;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the mask change"));
  }
  SECTION("values") {
    weights.dormant.kind = Dormant::Kind::kHold;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the mask keep values"));
  }
  SECTION("alignment") {
    weights.alignment.alpha = 1;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("aligns"));
  }
  SECTION("rank") {
    weights.topology.operations.push_back({Kind::kRank, "magnitude", false});
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("rank active and dormant weights"));
  }
}

TEST_CASE("within a superset outside which weights are zero the sparse storage serves", "[unit]") {
  for (const char* method : {"ssa", "alternate", "topkast"}) {
    INFO(method);
    Policies weights = within_superset(method);
    CHECK(demands_of(weights).sparse_refusal.empty());
    CHECK(stored_density(weights) == Approx(0.3));
    weights.sets.outside_zero = false;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("superset_outside = hold"));
  }
  CHECK(stored_density(weights_of("set")) == Approx(0.2));
  const std::vector<Settings> served = {
      {{"superset_random", "true"}}, {{"dormant_decay", "0.1"}},
      {{"weights_draw", "layer"}},   {{"mask_source", "magnitude_input"}},
      {{"mask_source", "random"}},   {{"weights_counterpart", "propagated"}},
      {{"weights_detach", "true"}}};
  for (const Settings& each : served) {
    CAPTURE(each);
    CHECK(demands_of(within_superset("ssa", each)).sparse_refusal.empty());
  }
}

TEST_CASE("what leaves the superset is refused by itself", "[unit]") {
  Policies weights = within_superset("ssa");
  SECTION("full stream") {
    weights.sets.full_in_superset = false;
    CHECK_THAT(demands_of(weights).sparse_refusal,
               Contains("full stream computes with all weights"));
  }
  SECTION("gradient") {
    weights.sets.gradient = Support::kAll;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the superset get a gradient"));
  }
  SECTION("update") {
    weights.sets.update = Support::kAll;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the superset change"));
  }
  SECTION("nested masks") {
    weights.sets.nested = {1, 0.5};
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("nested masks"));
  }
  SECTION("perturbation") {
    weights.perturbation.kind = Perturbation::Kind::kAscent;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("perturbed"));
  }
  SECTION("granularity") {
    CHECK_THAT(demands_of(within_superset("ssa", {{"granularity", "fan_in"}})).sparse_refusal,
               Contains("granularity"));
  }
  SECTION("gradient criterion") {
    for (const char* source : {"saliency", "gradient"}) {
      CHECK_THAT(demands_of(within_superset("ssa", {{"mask_source", source}})).sparse_refusal,
                 Contains(source) && Contains("reads gradients"));
    }
  }
  SECTION("slot of everywhere") {
    weights.topology.operations.front().criterion = "averaged_gradient";
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("averaged_gradient"));
  }
  SECTION("scope") {
    weights.topology.operations.front().whole_net = true;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("all layers together"));
  }
  SECTION("sampled") {
    weights.topology.operations.front().sampled = true;
    CHECK_THAT(demands_of(weights).sparse_refusal, Contains("outside the superset as well"));
  }
}

TEST_CASE("what is outside a superset is said where there is one", "[unit]") {
  CHECK_THROWS_WITH(within_superset("ssa", {{"superset_density", "0"}}),
                    Contains("--superset-outside zero") && Contains("--superset-density"));
  CHECK_THROWS_WITH(within_superset("alternate", {{"granularity", "block"}}),
                    Contains("--superset-outside zero") && Contains("block"));
  CHECK_THROWS_WITH(within_superset("topkast", {{"superset_density", "0.05"}}),
                    Contains("--superset-density 0.05") && Contains("--density 0.1"));
  CHECK(within_superset("topkast", {{"superset_density", "0"}}).sets.superset == Approx(0.2));
  CHECK_FALSE(weights_of("topkast").sets.outside_zero);
}

// 2^32 positions of which a superset is stored.
TEST_CASE("a superset costs what it holds", "[unit]") {
  constexpr std::int64_t kUnits = 65536, kActive = 20000, kSuperset = 50000;
  const Shape shape{kUnits, kUnits, {kActive}};
  Layer layer(shape.initial(), shape.start(Storage::kSparse, 5, torch::kDouble));
  const Positions first = layer.positions();
  for (std::int64_t update = 0; update < 3; ++update) {
    CAPTURE(update);
    layer.connections->choose_superset({{1}, {kSuperset}, {topology_key(5, 0, update)}},
                                       /*random=*/true, /*outside_zero=*/true);
    REQUIRE(layer.parameter.flat().numel() == kSuperset);
    REQUIRE(layer.parameter.slot("momentum").numel() == kSuperset);
    REQUIRE(layer.connections->active_flags().numel() == kSuperset);
    REQUIRE(layer.connections->active(0) == kActive);
    const std::int64_t zeros = layer.parameter.flat().eq(0).sum().item<std::int64_t>();
    if (update == 0) {  // the others begin with their own draws
      CHECK(zeros == 0);
      CHECK(layer.positions() == first);
    } else {  // nearly all of the others are new
      CHECK(zeros > (kSuperset - kActive) / 100 * 98);
    }
    layer.connections->rank({{1}, {kActive}, {topology_key(5, 0, update)}}, criterion("magnitude"),
                            false);
    layer.connections->finish({{1}, {0}}, false);
    CHECK(layer.connections->active(0) == kActive);
  }
}

TEST_CASE("a criterion that sees every gradient is refused by its name", "[unit]") {
  criteria().add({.kind = "criterion",
                  .name = kAccumulated,
                  .summary = "average of the dense gradient",
                  .cite = "",
                  .file = __FILE__},
                 {.name = kAccumulated,
                  .slots = {kAccumulated},
                  .score = [](const ScoreInputs& inputs) -> at::Tensor {
                    return inputs.slots.at(kAccumulated).abs();
                  },
                  .accumulate =
                      [](const at::Tensor& gradient, std::map<std::string, at::Tensor>& slots) {
                        slots.at(kAccumulated).add_(gradient);
                      }});
  Policies weights = weights_of("rigl");
  weights.topology.operations.back().criterion = kAccumulated;
  CHECK_THAT(demands_of(weights).sparse_refusal,
             Contains(kAccumulated) && Contains("every weight's gradient"));
}

TEST_CASE("storages have names", "[unit]") {
  CHECK(storage_of_name(storage_name(Storage::kMasked)) == Storage::kMasked);
  CHECK(storage_of_name(storage_name(Storage::kSparse)) == Storage::kSparse);
  CHECK_THROWS_WITH(storage_of_name("dense"), Contains("dense") && Contains("masked or sparse"));
}

TEST_CASE("65,536 x 65,536 with 200,000 connections", "[unit]") {
  constexpr std::int64_t kUnits = 65536, kActive = 200000;
  const Shape shape{kUnits, kUnits, {kActive}};
  const auto start = shape.start(Storage::kSparse, 5, torch::kDouble);
  Layer layer(shape.initial(), start);
  const Positions first = layer.positions();
  REQUIRE(layer.connections->positions() == kUnits * kUnits);
  REQUIRE(layer.connections->active(0) == kActive);
  REQUIRE(layer.parameter.flat().numel() == kActive);
  REQUIRE(first.size() == kActive);
  REQUIRE(ascending(first, kUnits * kUnits));
  CHECK(first.front() < kUnits * kUnits / 1000);  // all over the layer
  CHECK(first.back() > kUnits * kUnits / 1000 * 999);
  for (const std::int64_t e : {0L, 1L, kActive / 2, kActive - 1}) {
    CHECK(layer.parameter.flat()[e].item<double>() ==
          shape.initial().at(0, first[static_cast<std::size_t>(e)]));
  }

  const at::Tensor x = torch::linspace(-1, 1, 2 * kUnits, torch::kDouble).view({1, 2, kUnits});
  const at::Tensor bias = torch::linspace(0, 2, kUnits, torch::kDouble).view({1, kUnits});
  const auto product = [&](const Layer& of) { return of.connections->product(x, bias, {}).full; };
  const at::Tensor y = product(layer);
  CHECK(torch::allclose(y[0], product_by_hand(layer, x, bias), 1e-12, 1e-12));
  y.sum().backward();
  const at::Tensor by_input = x.sum(1)[0];  // dL/dw_io = sum over the batch of x_i
  const at::Tensor inputs = torch::tensor(first, torch::kLong).div(kUnits, "floor");
  CHECK(torch::allclose(layer.parameter.value.grad(), by_input.index_select(0, inputs), 1e-12,
                        1e-12));

  layer.parameter.slot("momentum").fill_(7);
  const auto report = shape.updater(layer, moves("magnitude", "random"))
                          .update(first_update(1), /*zero_dormant=*/true)[0];
  CHECK(report.nnz[0] == kActive);
  CHECK(report.dropped[0] == kActive / 4);
  CHECK(report.grown[0] == kActive / 4);
  const Positions now = layer.positions();
  REQUIRE(now.size() == kActive);
  REQUIRE(ascending(now, kUnits * kUnits));
  CHECK(now != first);
  CHECK(layer.parameter.flat().eq(0).sum().item<std::int64_t>() == kActive / 4);
  CHECK(layer.parameter.slot("momentum").eq(7).sum().item<std::int64_t>() == kActive / 4 * 3);
  CHECK(torch::allclose(product(layer)[0], product_by_hand(layer, x, bias), 1e-12, 1e-12));

  const auto other = loaded_again(layer, kUnits);
  CHECK(other->positions() == now);
  CHECK(torch::equal(product(*other), product(layer)));
}

// 32-bit indices, several blocks of gradient, and blocks of one input.
TEST_CASE("layers too wide for 16-bit indices are those of the masked storage", "[unit]") {
  const Shape shape = GENERATE(Shape{70000, 11, {3000, 500}}, Shape{3, 300000, {3000, 500}});
  CAPTURE(shape.inputs);
  Layer masked(shape.initial(), shape.start(Storage::kMasked, 5, torch::kDouble));
  Layer sparse(shape.initial(), shape.start(Storage::kSparse, 5, torch::kDouble));
  const at::Tensor x =
      torch::sin(torch::arange(2 * 3 * shape.inputs, torch::kDouble)).view({2, 3, shape.inputs});
  const at::Tensor bias =
      torch::cos(torch::arange(2 * shape.outputs, torch::kDouble)).view({2, shape.outputs});
  const at::Tensor dy = torch::sin(torch::arange(2 * 3 * shape.outputs, torch::kDouble) * 3)
                            .view({2, 3, shape.outputs});
  const auto active_part = [&](const at::Tensor& dense) {
    return dense.reshape({-1}).masked_select(masked.connections->active_flags().ne(0));
  };
  std::vector<UpdateCounts> reports;
  std::vector<at::Tensor> outputs;
  for (Layer* layer : {&masked, &sparse}) {
    TopologyUpdater updater = shape.updater(*layer, moves("magnitude", "gradient"));
    updater.expect_gradient(true);
    outputs.push_back(layer->connections->product(x, bias, {}).full);
    outputs.back().backward(dy);
  }
  CHECK(torch::allclose(outputs[0], outputs[1], 1e-12, 1e-12));
  CHECK(torch::allclose(active_part(masked.parameter.value.grad()), sparse.parameter.value.grad(),
                        1e-12, 1e-12));
  require_same_scores(masked, sparse);
  for (Layer* layer : {&masked, &sparse}) {
    TopologyUpdater updater = shape.updater(*layer, moves("magnitude", "gradient"));
    reports.push_back(updater.update(first_update(2), true)[0]);
  }
  CHECK(reports[0].dropped == reports[1].dropped);
  CHECK(reports[0].grown == reports[1].grown);
  CHECK(reports[0].grown[0] > 600);
  CHECK(reports[0].mask_hash == reports[1].mask_hash);
  CHECK(torch::equal(active_part(masked.parameter.value.detach()), sparse.parameter.flat()));
}

TEST_CASE("a start by magnitude keeps what the masked one keeps", "[unit]") {
  const Shape shape{700, 600, {20000, 1}};  // more than one block of draws
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    auto start = shape.start(Storage::kMasked, 5, dtype);
    start.pattern = Start::Pattern::kMagnitude;
    const Layer masked(shape.initial(), start);
    start.storage = Storage::kSparse;
    const Layer sparse(shape.initial(), start);
    for (std::int64_t r = 0; r < 2; ++r) {
      CHECK(masked.positions(r) == sparse.positions(r));
      CHECK(sparse.connections->active(r) == shape.active[static_cast<std::size_t>(r)]);
    }
    CHECK(torch::equal(masked.connections->dense_values(), sparse.connections->dense_values()));
  }
}

TEST_CASE("one replica's topology comes from another object, the others stay", "[unit]") {
  const Shape shape{13, 9, {20, 30, 5}};
  Layer saved(shape.initial(), shape.start(Storage::kSparse, 5));
  Layer layer(shape.initial(), shape.start(Storage::kSparse, 40));
  layer.parameter.slot("age", 3).fill_(1);
  const at::Tensor values = layer.connections->dense_values();
  layer.connections->load_topology(2, saved.connections->save_topology(0));
  CHECK(layer.positions(2) == saved.positions(0));
  CHECK(layer.connections->segments() == Positions{0, 20, 50, 70});
  CHECK(torch::equal(layer.connections->dense_values().narrow(0, 0, 2), values.narrow(0, 0, 2)));
  CHECK(layer.connections->dense_values()[2].eq(0).all().item<bool>());
  const at::Tensor age = layer.parameter.slot("age");
  CHECK(age.narrow(0, 0, 50).eq(1).all().item<bool>());
  CHECK(age.narrow(0, 50, 20).eq(3).all().item<bool>());
}

TEST_CASE("another layer's topology is refused", "[unit]") {
  const Shape shape{13, 9, {20}}, turned{9, 13, {20}};
  Layer layer(shape.initial(), shape.start(Storage::kSparse));
  const Positions before = layer.positions();
  const Layer other(turned.initial(), turned.start(Storage::kSparse));
  const Layer masked(shape.initial(), shape.start(Storage::kMasked));
  for (const Layer* from : {&other, &masked}) {
    const at::Tensor saved = from->connections->save_topology(0);
    CHECK_THROWS_AS(layer.connections->load_topology(0, saved), StoreError);
    CHECK_THROWS_WITH(layer.connections->load_topology(0, saved),
                      Contains("layer0.weight") && Contains("13 inputs and 9 outputs"));
  }
  Layer in_mask(shape.initial(), shape.start(Storage::kMasked));
  CHECK_THROWS_AS(in_mask.connections->load_topology(0, layer.connections->save_topology(0)),
                  StoreError);
  for (const Positions& damaged : std::vector<Positions>{
           Positions{13, 9, 5, 3}, {13, 9, 4, 4}, {13, 9, 117}, {13, 9, -1}, {13}}) {
    CHECK_THROWS_AS(layer.connections->load_topology(0, torch::tensor(damaged, torch::kLong)),
                    StoreError);
  }
  CHECK(layer.positions() == before);
}

}  // namespace tandem::test::topology_storage_unit
