// The same layers in both storages under random updates: equal sets, values and slots bit for bit,
// products up to the order of additions. TANDEM_TEST_SEED replays a failure.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>

#include "data/tensor.h"
#include "topology/feature_major.h"
#include "topology/random_ranks.h"
#include "topology/storage.h"
#include "topology/topology_update.h"

namespace tandem::test::topology_storages_property {
namespace {

using Kind = TopologyOperation::Kind;
using Regrown = TopologyRule::Regrown;
using Pattern = Start::Pattern;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const std::vector<LayerShape> kShapes = {
    {"some", 13, 9}, {"more", 9, 31}, {"full", 7, 5}, {"one output", 17, 1}, {"one input", 1, 19}};
constexpr std::size_t kMoving = 1;  // has always something to move
constexpr std::size_t kFull = 2;    // every position active at first

// Normal draws or, coarse, eighths: their products and sums are exact, so that scores that tie do
// so in both storages whatever the order of additions.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : random_(seed) {}
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool coin() { return below(2) == 1; }
  at::Tensor tensor(at::IntArrayRef sizes) {
    at::Tensor values = torch::empty(sizes, torch::kDouble);
    auto* value = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      value[i] = coarse ? static_cast<double>(below(9) - 4) / 8 : normal_(random_);
    }
    return values;
  }
  bool coarse = false;

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

enum class Layout { kContiguous, kTransposed, kFeatureMajor };
constexpr Layout kLayouts[] = {Layout::kContiguous, Layout::kTransposed, Layout::kFeatureMajor};

at::Tensor laid_out(const at::Tensor& x, Layout layout) {
  if (layout == Layout::kContiguous) return x;
  if (layout == Layout::kTransposed) return x.transpose(1, 2).contiguous().transpose(1, 2);
  at::Tensor y = empty_features(x.size(0), x.size(1), x.size(2), x.options());
  const auto room = static_cast<std::int64_t>(y.storage().nbytes() / sizeof(double));
  y.as_strided({room}, {1}).fill_(kNan);  // behind the batch too
  return y.copy_(x);
}

struct Side {
  Parameter parameter;
  std::unique_ptr<Connections> connections;
};

struct Product {  // undefined where not asked for
  at::Tensor y, dw, dx, db;
};

struct ProductCase {
  at::Tensor x, dy, bias;  // bias may be undefined
  bool dx = true;
  ProductPlan plan;
};

Product product_of(const Side& side, const ProductCase& given) {
  const at::Tensor x = given.x.detach().requires_grad_(given.dx);
  at::Tensor bias;
  if (given.bias.defined()) bias = given.bias.detach().requires_grad_(true);
  const TwoStreams streams = side.connections->product(x, bias, given.plan);
  Product own;
  own.y = given.plan.sparse && !given.plan.selected ? streams.sparse : streams.full;
  torch::autograd::variable_list inputs = {side.parameter.value};
  if (given.dx) inputs.push_back(x);
  if (bias.defined()) inputs.push_back(bias);
  auto gradients = torch::autograd::grad({own.y}, inputs, {given.dy});
  own.dw = gradients[0];
  if (given.dx) own.dx = gradients[1];
  if (bias.defined()) own.db = gradients.back();
  return own;
}

bool close(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.sizes() == b.sizes() && torch::allclose(a, b, 1e-12, 1e-12);
}

struct Layer {
  LayerShape shape;
  Side masked, sparse;

  std::int64_t replicas() const { return masked.connections->replicas(); }
  at::Tensor active() const { return masked.connections->dense_flags().ne(0); }  // [R,n]
  at::Tensor compact(const at::Tensor& dense) const {  // as the sparse storage holds it
    return dense.reshape({replicas(), -1}).masked_select(active());
  }
  // The same values on active positions of both; what is not active stays.
  void put(const at::Tensor& in_masked, const at::Tensor& in_sparse, const at::Tensor& dense) {
    at::Tensor rows = in_masked.view({replicas(), -1});
    rows.copy_(torch::where(active(), dense, rows));
    at::Tensor(in_sparse).copy_(compact(dense));
  }
  void train(Draws& draws) {
    const auto dense = [&] { return draws.tensor({replicas(), shape.positions()}); };
    put(masked.parameter.flat(), sparse.parameter.flat(), dense());
    for (auto& [name, slot] : masked.parameter.slots) {
      put(slot.values, sparse.parameter.slots.at(name).values, dense());
    }
  }
  ProductCase product_case(Draws& draws, std::int64_t batch, Layout layout) const {
    ProductCase made;
    made.x = laid_out(draws.tensor({replicas(), batch, shape.inputs}), layout);
    made.dy = laid_out(draws.tensor({replicas(), batch, shape.outputs}), kLayouts[draws.below(3)]);
    if (draws.coin()) made.bias = draws.tensor({replicas(), shape.outputs});
    made.dx = draws.below(4) > 0;
    switch (draws.below(3)) {
      case 0:
        made.plan.full = false;
        made.plan.sparse = true;
        made.plan.mask_gradient = draws.coin();
        break;
      case 1:
        made.plan.selected = true;
        made.plan.full_runs = torch::zeros({replicas()}, torch::kBool);
        break;
      default:
        break;
    }
    return made;
  }
};

struct Network {
  std::vector<Layer> layers;
  std::vector<Start> starts;
  std::vector<std::uint64_t> keys;

  Network(Draws& draws, std::int64_t replicas, Pattern pattern, std::uint64_t seed)
      : layers(kShapes.size()) {
    for (std::int64_t r = 0; r < replicas; ++r) {
      keys.push_back(stream_key(seed + static_cast<std::uint64_t>(r), "topology"));
      Start start;
      start.pattern = pattern;
      start.budget = draws.coin() ? Start::Budget::kUniform : Start::Budget::kEr;
      start.density = 0.15 + 0.2 * static_cast<double>(r);
      starts.push_back(start);
    }
    for (std::size_t l = 0; l < layers.size(); ++l) start_layer(draws, l);
  }

  void start_layer(Draws& draws, std::size_t l) {
    Layer& layer = layers[l];
    layer.shape = kShapes[l];
    const std::int64_t n = layer.shape.positions();
    InitialWeights initial;
    initial.law = draws.coin() ? InitialWeights::Law::kUniform : InitialWeights::Law::kNormal;
    initial.scale = 0.5;
    initial.inputs = layer.shape.inputs;
    initial.outputs = layer.shape.outputs;
    LayerStart start;
    start.pattern = starts.front().pattern;
    start.dtype = torch::kDouble;
    for (const std::uint64_t key : keys) {
      const std::int64_t counts[] = {0, 1, n / 8, n / 3, n};  // few: empty rows and columns
      start.active.push_back(l == kFull ? n : counts[l == kMoving ? 3 : draws.below(5)]);
      start.keys.push_back(topology_key(key, static_cast<std::int64_t>(l), 0));
      initial.streams.push_back({sub_key(key, 100 + l)});
    }
    for (Side* side : {&layer.masked, &layer.sparse}) {
      side->parameter.name = layer.shape.name;
      start.storage = side == &layer.masked ? Storage::kMasked : Storage::kSparse;
      side->connections = start_connections(side->parameter, initial, start);
      side->parameter.slot("momentum");
      side->parameter.slot("age", 3);
    }
  }

  TopologyUpdater updater(Side Layer::*side, const TopologyRule& rule) {
    std::vector<Connections*> connections;
    for (Layer& layer : layers) connections.push_back((layer.*side).connections.get());
    return TopologyUpdater(connections, kShapes, std::vector<TopologyRule>(keys.size(), rule),
                           starts, keys);
  }
};

void require_same_state(const Layer& layer) {
  const Connections &masked = *layer.masked.connections, &sparse = *layer.sparse.connections;
  const at::Tensor flags = masked.dense_flags();
  REQUIRE(torch::equal(flags, sparse.dense_flags()));
  REQUIRE(torch::equal(masked.dense_values(), sparse.dense_values()));
  const Parameter &mine = layer.masked.parameter, &other = layer.sparse.parameter;
  REQUIRE(torch::equal(layer.compact(mine.flat()), other.flat()));
  REQUIRE(mine.slots.size() == other.slots.size());
  for (const auto& [name, slot] : mine.slots) {
    CAPTURE(name);
    REQUIRE(torch::equal(layer.compact(slot.values), other.slots.at(name).values));
  }
  REQUIRE(sparse.segments().back() == other.flat().numel());
  for (std::int64_t r = 0; r < layer.replicas(); ++r) {
    REQUIRE(masked.active_set(r).hash() == sparse.active_set(r).hash());
    REQUIRE(masked.active_set(r).positions() == sparse.active_set(r).positions());
    REQUIRE(sparse.active(r) == flags[r].sum().item<std::int64_t>());
  }
}

void require_same_product(const Layer& layer, const ProductCase& given) {
  const Product mine = product_of(layer.masked, given), other = product_of(layer.sparse, given);
  REQUIRE(close(mine.y, other.y));
  REQUIRE(close(mine.dx, other.dx));
  REQUIRE(close(layer.compact(mine.dw), other.dw));
  REQUIRE(close(mine.db, other.db));
}

void require_same_products(const Layer& layer, Draws& draws) {
  for (const std::int64_t batch : {1, 2, 16, 19}) {
    for (const Layout layout : kLayouts) {
      for (const bool relu : {false, true}) {
        ProductCase given = layer.product_case(draws, batch, layout);
        given.plan.relu = relu;
        CAPTURE(batch, static_cast<int>(layout), relu, given.plan.sparse, given.plan.selected);
        require_same_product(layer, given);
      }
    }
  }
}

void require_same_report(const UpdateCounts& mine, const UpdateCounts& other) {
  REQUIRE(mine.layer == other.layer);
  REQUIRE(mine.nnz == other.nnz);
  REQUIRE(mine.dropped == other.dropped);
  REQUIRE(mine.grown == other.grown);
  REQUIRE(mine.mask_hash == other.mask_hash);
}

// The gradient that the next update reads: one or two backward passes.
void run_backward(Network& network, Draws& draws) {
  for (Layer& layer : network.layers) {
    for (Side* side : {&layer.masked, &layer.sparse}) side->parameter.value.mutable_grad().reset();
  }
  for (std::int64_t pass = draws.below(2); pass >= 0; --pass) {
    const std::int64_t batch = 1 + draws.below(20);
    for (Layer& layer : network.layers) {
      ProductCase given = layer.product_case(draws, batch, kLayouts[draws.below(3)]);
      given.plan.mask_gradient = false;
      given.plan.relu = draws.coin();
      for (Side* side : {&layer.masked, &layer.sparse}) {
        const auto streams = side->connections->product(given.x, given.bias, given.plan);
        (given.plan.sparse ? streams.sparse : streams.full).backward(given.dy);
      }
    }
  }
}

struct RuleCase {
  const char* name;
  std::vector<TopologyOperation> operations;
  double newborn_sd = 0;
  Regrown regrown = Regrown::kKeep;
  bool prunes = false;
  bool moves = true;  // not where the newborn are the first to go
};

TopologyOperation drop(const char* by, bool whole_net = false) {
  return {Kind::kDrop, by, whole_net};
}
TopologyOperation grow(const char* by, bool whole_net = false) {
  return {Kind::kGrow, by, whole_net};
}

TopologyOperation drawn(TopologyOperation operation) {
  operation.sampled = true;
  operation.sharpness_final = 3;
  return operation;
}

std::vector<RuleCase> rule_cases() {
  const TopologyOperation prune = {Kind::kPruneTo, "magnitude", false};
  const TopologyOperation prune_all = {Kind::kPruneTo, "magnitude", true};
  const TopologyOperation grow_beyond = {Kind::kGrowTo, "random", false};
  return {
      {"drawn", {drawn(drop("magnitude")), drawn(grow("gradient"))}},
      {"drawn by topology", {drawn(drop("relative_importance")), drawn(grow("ch3_l3_plain"))}},
      {"soft bound", {prune, grow_beyond}, 0.1},
      {"magnitude, random", {drop("magnitude"), grow("random")}},
      {"set", {drop("set_signed"), grow("random")}, 0.1},
      {"set, zero", {drop("set_signed"), grow("random")}, 0.1, Regrown::kZero},
      {"rigl", {drop("magnitude"), grow("gradient")}},
      {"rigl, zero", {drop("magnitude"), grow("gradient")}, 0, Regrown::kZero},
      {"mest by gradient", {grow("gradient"), drop("magnitude")}, 0.5},
      {"mest from zero", {grow("gradient"), drop("magnitude")}, 0, Regrown::kKeep, false, false},
      {"mest at random", {grow("random"), drop("magnitude")}, 0.5},
      {"random", {drop("random"), grow("random")}},
      {"whole net", {drop("magnitude", true), grow("gradient", true)}},
      {"whole net at random", {drop("random", true), grow("random", true)}, 0.1},
      {"by gradient", {drop("gradient"), grow("random")}, 0.1},
      {"pruned", {prune}, 0, Regrown::kKeep, true},
      {"pruned over the whole net", {prune_all}, 0, Regrown::kKeep, true},
      {"pruned and moved", {prune, drop("magnitude"), grow("gradient")}, 0, Regrown::kKeep, true}};
}

TopologyRule rule_of(const RuleCase& said, Draws& draws) {
  TopologyRule rule;
  rule.operations = said.operations;
  rule.newborn_sd = said.newborn_sd;
  rule.regrown = said.regrown;
  rule.drop_fraction = 0.1 + 0.2 * static_cast<double>(draws.below(5));
  if (said.prunes) rule.budget_schedule = TopologyRule::BudgetSchedule::kCubic;
  return rule;
}

std::int64_t run_sequence(const RuleCase& said, Draws& draws, std::uint64_t seed) {
  constexpr std::int64_t kUpdates = 4;
  const Pattern patterns[] = {Pattern::kRandom, Pattern::kMagnitude};
  const bool dense = said.prunes && (draws.coarse || draws.coin());
  const Pattern pattern = dense ? Pattern::kDense : patterns[draws.below(2)];
  const std::int64_t replicas = 1 + draws.below(3);
  CAPTURE(replicas, static_cast<int>(pattern));
  Network network(draws, replicas, pattern, seed);
  for (const Layer& layer : network.layers) require_same_state(layer);
  const TopologyRule rule = rule_of(said, draws);
  TopologyUpdater masked = network.updater(&Layer::masked, rule);
  TopologyUpdater sparse = network.updater(&Layer::sparse, rule);
  std::int64_t changed = 0;
  for (std::int64_t update = 1; update <= kUpdates; ++update) {
    CAPTURE(update);
    for (Layer& layer : network.layers) layer.train(draws);
    for (TopologyUpdater* each : {&masked, &sparse}) each->expect_gradient(true);
    run_backward(network, draws);
    UpdateMoment moment;
    for (std::int64_t r = 0; r < replicas; ++r) {
      moment.due.push_back(replicas == 1 || draws.below(3) > 0);
      moment.progress.push_back(static_cast<double>(update) / kUpdates);
      moment.number.push_back(update + 10 * r);
    }
    const auto mine = masked.update(moment, true), other = sparse.update(moment, true);
    for (TopologyUpdater* each : {&masked, &sparse}) each->expect_gradient(false);
    REQUIRE(mine.size() == other.size());
    for (std::size_t l = 0; l < network.layers.size(); ++l) {
      CAPTURE(kShapes[l].name);
      require_same_report(mine[l], other[l]);
      require_same_state(network.layers[l]);
      for (const std::int64_t count : mine[l].dropped) changed += count;
    }
    const std::size_t l = static_cast<std::size_t>(draws.below(5));
    CAPTURE(kShapes[l].name);
    require_same_products(network.layers[l], draws);
  }
  return changed;
}

}  // namespace

TEST_CASE("both storages make the same updates and products", "[property]") {
  const char* given = std::getenv("TANDEM_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  CAPTURE(seed);
  Draws draws(seed);
  for (const RuleCase& said : rule_cases()) {
    std::int64_t changed = 0;
    for (const bool coarse : {false, true, false}) {
      CAPTURE(said.name, coarse);
      draws.coarse = coarse;
      changed += run_sequence(said, draws, seed);
    }
    CAPTURE(said.name);
    if (said.moves) CHECK(changed > 0);
  }
}

TEST_CASE("both storages start alike", "[property]") {
  const char* given = std::getenv("TANDEM_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  CAPTURE(seed);
  Draws draws(seed);
  for (const Pattern pattern : {Pattern::kRandom, Pattern::kMagnitude, Pattern::kDense}) {
    for (const auto scale : {Start::InitScale::kFanIn, Start::InitScale::kDensity}) {
      for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
        CAPTURE(static_cast<int>(pattern), static_cast<int>(scale), replicas);
        Network network(draws, replicas, pattern, seed);
        for (Layer& layer : network.layers) {
          CAPTURE(layer.shape.name);
          require_same_state(layer);
          require_same_products(layer, draws);
          for (std::int64_t r = 0; r < replicas; ++r) {
            if (layer.masked.connections->active(r) == 0) continue;
            for (Side* side : {&layer.masked, &layer.sparse}) side->connections->scale(r, scale);
          }
          REQUIRE(close(layer.masked.connections->dense_values(),
                        layer.sparse.connections->dense_values()));
        }
      }
    }
  }
}

}  // namespace tandem::test::topology_storages_property
