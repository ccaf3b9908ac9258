// A superset outside which weights are zero, in both storages, under random updates: equal sets,
// values and slots bit for bit, products up to the order of additions. TANDEM_TEST_SEED replays a
// failure.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <random>

#include "data/tensor.h"
#include "topology/random_ranks.h"
#include "topology/storage.h"
#include "topology/topology_update.h"

namespace tandem::test::topology_superset_property {
namespace {

using Kind = TopologyOperation::Kind;
using Positions = std::vector<std::int64_t>;

const std::vector<LayerShape> kShapes = {
    {"some", 13, 9}, {"more", 9, 31}, {"one output", 17, 1}, {"one input", 1, 19}};

std::uint64_t test_seed() {
  const char* given = std::getenv("TANDEM_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

// Normal draws or, coarse, halves, of which many tie and a third are zero.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : random_(seed) {}
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool coin() { return below(2) == 1; }
  at::Tensor tensor(at::IntArrayRef sizes, bool coarse = false) {
    at::Tensor values = torch::empty(sizes, torch::kDouble);
    auto* value = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      value[i] = coarse ? static_cast<double>(below(3) - 1) / 2 : normal_(random_);
    }
    return values;
  }

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

struct Side {
  Parameter parameter;
  std::unique_ptr<Connections> connections;

  std::int64_t replicas() const { return connections->replicas(); }
  // [R,n] of something beside the values; `fill` where nothing is stored.
  at::Tensor dense(const at::Tensor& flat, double fill = 0) const {
    if (connections->is_dense()) return flat.reshape({replicas(), -1});
    const at::Tensor all =
        torch::full({replicas(), connections->positions()}, fill, flat.options());
    for (std::int64_t r = 0; r < replicas(); ++r) {
      const Positions own = connections->superset(r).positions();
      all[r].index_copy_(0, torch::tensor(own, torch::kLong), parameter.segment(flat, r));
    }
    return all;
  }
  at::Tensor superset() const {  // uint8 [R,n]
    at::Tensor flags = torch::zeros({replicas(), connections->positions()}, torch::kByte);
    for (std::int64_t r = 0; r < replicas(); ++r) {
      const Positions own = connections->superset(r).positions();
      flags[r].index_fill_(0, torch::tensor(own, torch::kLong), 1);
    }
    return flags;
  }
  // Values of the superset from `dense` [R,n].
  void put(const at::Tensor& flat, const at::Tensor& dense) const {
    const at::Tensor flags = superset().ne(0);
    at::Tensor(flat).copy_(connections->is_dense()
                               ? torch::where(flags, dense, flat.view(dense.sizes())).view({-1})
                               : dense.masked_select(flags));
  }
};

struct Product {  // undefined where not asked for
  at::Tensor full, sparse, full_local, sparse_local, dw, dx, db;
};

struct ProductCase {
  at::Tensor x, bias;
  std::vector<at::Tensor> dy;  // of full, sparse and their locals
  ProductPlan plan;
};

Product product_of(const Side& side, const ProductCase& given) {
  const at::Tensor x = given.x.detach().requires_grad_(true);
  const at::Tensor bias = given.bias.detach().requires_grad_(true);
  const TwoStreams streams = side.connections->product(x, bias, given.plan);
  Product own{streams.full, streams.sparse, streams.full_local, streams.sparse_local, {}, {}, {}};
  torch::autograd::variable_list outputs, weights;
  std::size_t i = 0;
  for (const at::Tensor& y : {own.full, own.sparse, own.full_local, own.sparse_local}) {
    if (y.defined()) outputs.push_back(y);
    if (y.defined()) weights.push_back(given.dy[i]);
    ++i;
  }
  const auto gradients = torch::autograd::grad(outputs, {side.parameter.value, x, bias}, weights);
  own.dw = side.dense(gradients[0].reshape({-1}));
  own.dx = gradients[1];
  own.db = gradients[2];
  return own;
}

bool close(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.sizes() == b.sizes() && torch::allclose(a, b, 1e-12, 1e-12);
}

struct Layer {
  LayerShape shape;
  Side masked, sparse;

  std::int64_t replicas() const { return masked.replicas(); }

  void require_same_state() const {
    CAPTURE(shape.name);
    const at::Tensor superset = masked.superset();
    REQUIRE(torch::equal(masked.connections->dense_flags(), sparse.connections->dense_flags()));
    REQUIRE(torch::equal(superset, sparse.superset()));
    REQUIRE(masked.connections->dense_flags().gt(superset).sum().item<std::int64_t>() == 0);
    REQUIRE(torch::equal(masked.connections->dense_values(), sparse.connections->dense_values()));
    const std::int64_t stored = superset.sum().item<std::int64_t>();
    REQUIRE(sparse.parameter.flat().numel() == stored);
    for (const auto& [name, slot] : masked.parameter.slots) {
      CAPTURE(name);
      const at::Tensor& other = sparse.parameter.slots.at(name).values;
      REQUIRE(other.numel() == stored);
      REQUIRE(torch::equal(masked.dense(slot.values), sparse.dense(other, slot.newborn)));
    }
    for (std::int64_t r = 0; r < replicas(); ++r) {
      REQUIRE(sparse.connections->active(r) == masked.connections->active(r));
      REQUIRE(sparse.connections->active_set(r).hash() == masked.connections->active_set(r).hash());
    }
  }

  void require_same_product(Draws& draws) const {
    CAPTURE(shape.name);
    ProductCase given;
    const std::int64_t batch = 1 + draws.below(20);
    given.x = draws.tensor({replicas(), batch, shape.inputs});
    given.bias = draws.tensor({replicas(), shape.outputs});
    for (int i = 0; i < 4; ++i)
      given.dy.push_back(draws.tensor({replicas(), batch, shape.outputs}));
    ProductPlan& plan = given.plan;
    plan.superset = true;
    plan.selected = draws.below(3) == 0;
    plan.full = draws.coin();
    plan.sparse = !plan.full || draws.coin();
    if (plan.selected) {
      plan.full_runs = draws.tensor({replicas()}).gt(0);
    } else {
      plan.mask_gradient = draws.coin();
      plan.detached = draws.coin();
    }
    plan.relu = !plan.detached && (plan.selected || plan.full != plan.sparse) && draws.coin();
    CAPTURE(plan.selected, plan.full, plan.sparse, plan.mask_gradient, plan.detached, plan.relu);
    const Product mine = product_of(masked, given), other = product_of(sparse, given);
    REQUIRE(close(mine.full, other.full));
    REQUIRE(close(mine.sparse, other.sparse));
    REQUIRE(close(mine.full_local, other.full_local));
    REQUIRE(close(mine.sparse_local, other.sparse_local));
    REQUIRE(close(mine.dx, other.dx));
    REQUIRE(close(mine.db, other.db));
    REQUIRE(close(mine.dw.masked_fill(masked.superset().eq(0), 0), other.dw));
    // All weights outside are zero: the full output is the superset's.
    if (plan.selected || !plan.full) return;
    given.plan.superset = false;
    REQUIRE(close(product_of(masked, given).full, mine.full));
    REQUIRE(torch::equal(product_of(sparse, given).full, other.full));
  }
};

struct Network {
  std::vector<Layer> layers{kShapes.size()};
  std::vector<Start> starts;
  std::vector<std::uint64_t> keys;
  std::vector<double> density;  // of the superset

  Network(Draws& draws, std::uint64_t seed) {
    const std::int64_t replicas = 1 + draws.below(3);
    const auto pattern = draws.coin() ? Start::Pattern::kMagnitude : Start::Pattern::kRandom;
    for (std::int64_t r = 0; r < replicas; ++r) {
      keys.push_back(stream_key(seed + static_cast<std::uint64_t>(r), "topology"));
      Start start;
      start.pattern = pattern;
      start.budget = draws.coin() ? Start::Budget::kUniform : Start::Budget::kEr;
      start.density = 0.15 + 0.2 * static_cast<double>(r);
      starts.push_back(start);
      density.push_back(r == 1 ? start.density : start.density + 0.25);
    }
    const auto layer_start = layer_starts(starts, kShapes, keys);
    for (std::size_t l = 0; l < layers.size(); ++l) start_layer(draws, l, layer_start[l]);
  }

  void start_layer(Draws& draws, std::size_t l, LayerStart start) {
    Layer& layer = layers[l];
    layer.shape = kShapes[l];
    InitialWeights initial;
    initial.scale = 0.5;
    initial.inputs = layer.shape.inputs;
    initial.outputs = layer.shape.outputs;
    start.dtype = torch::kDouble;
    start.zero_dormant = false;
    const auto scale =
        static_cast<Start::InitScale>(draws.below(2));  // as they are, or of a unit's fan-in
    for (const std::uint64_t key : keys) initial.streams.push_back({sub_key(key, 100 + l)});
    for (Side* side : {&layer.masked, &layer.sparse}) {
      start.storage = side == &layer.masked ? Storage::kMasked : Storage::kSparse;
      side->parameter.name = layer.shape.name;
      side->connections = start_connections(side->parameter, initial, start);
      for (std::size_t r = 0; r < keys.size(); ++r) {
        side->connections->scale(static_cast<std::int64_t>(r), scale);
      }
      side->parameter.slot("momentum");
    }
  }

  TopologyUpdater updater(Side Layer::*side, const TopologyRule& rule, bool random) {
    std::vector<Connections*> connections;
    for (Layer& layer : layers) connections.push_back((layer.*side).connections.get());
    TopologyUpdater made(connections, kShapes, std::vector<TopologyRule>(keys.size(), rule), starts,
                         keys);
    made.keep_superset(density, random, /*outside_zero=*/true);
    return made;
  }

  // New values and slots where anything is stored, and a slot that nobody has seen before.
  void train(Draws& draws, std::int64_t update) {
    const bool coarse = draws.coin();
    for (Layer& layer : layers) {
      for (Side* side : {&layer.masked, &layer.sparse}) {
        if (update == 2) side->parameter.slot("age", 3);
      }
      const std::vector<std::int64_t> sizes = {layer.replicas(), layer.shape.positions()};
      const at::Tensor values = draws.tensor(sizes, coarse);
      std::map<std::string, at::Tensor> slots;
      for (const auto& [name, slot] : layer.masked.parameter.slots) {
        slots[name] = draws.tensor(sizes);
      }
      for (Side* side : {&layer.masked, &layer.sparse}) {
        side->put(side->parameter.flat(), values);
        for (auto& [name, slot] : side->parameter.slots) side->put(slot.values, slots.at(name));
      }
    }
  }
};

void run_sequence(const TopologyRule& rule, bool random, Draws& draws, std::uint64_t seed) {
  Network network(draws, seed);
  TopologyUpdater masked = network.updater(&Layer::masked, rule, random);
  TopologyUpdater sparse = network.updater(&Layer::sparse, rule, random);
  const auto require_same = [&] {
    for (const Layer& layer : network.layers) {
      layer.require_same_state();
      for (int i = 0; i < 4; ++i) layer.require_same_product(draws);
    }
  };
  require_same();
  for (std::int64_t update = 1; update <= 4; ++update) {
    CAPTURE(update);
    network.train(draws, update);
    require_same();
    UpdateMoment moment;
    for (std::size_t r = 0; r < network.keys.size(); ++r) {
      moment.due.push_back(network.keys.size() == 1 || draws.below(3) > 0);
      moment.progress.push_back(0.5);
      moment.number.push_back(update + 10 * static_cast<std::int64_t>(r));
    }
    const auto mine = masked.update(moment, false), other = sparse.update(moment, false);
    REQUIRE(mine.size() == other.size());
    for (std::size_t l = 0; l < mine.size(); ++l) {
      REQUIRE(mine[l].mask_hash == other[l].mask_hash);
      REQUIRE(mine[l].nnz == other[l].nnz);
      REQUIRE(mine[l].grown == other[l].grown);
    }
    require_same();
  }
}

// Another object that loads what `side` has.
void require_loads(const Side& side, const LayerShape& shape) {
  InitialWeights initial;
  initial.scale = 1;
  initial.inputs = shape.inputs;
  initial.outputs = shape.outputs;
  LayerStart start;
  start.storage = Storage::kSparse;
  start.dtype = torch::kDouble;
  for (std::int64_t r = 0; r < side.replicas(); ++r) {
    initial.streams.push_back({static_cast<std::uint64_t>(90 + r)});
    start.active.push_back(1);
    start.keys.push_back(static_cast<std::uint64_t>(7 + r));
  }
  Side other;
  other.connections = start_connections(other.parameter, initial, start);
  other.connections->choose_superset(
      {std::vector<char>(start.keys.size(), 1), Positions(start.keys.size(), 2), start.keys}, true,
      true);
  for (std::int64_t r = 0; r < side.replicas(); ++r) {
    other.connections->load_topology(r, side.connections->save_topology(r));
  }
  REQUIRE(other.parameter.flat().numel() == side.parameter.flat().numel());
  REQUIRE(other.connections->superset_flags().numel() == side.parameter.flat().numel());
  REQUIRE(torch::equal(other.connections->dense_flags(), side.connections->dense_flags()));
  REQUIRE(torch::equal(other.superset(), side.superset()));
}

}  // namespace

TEST_CASE("within a superset both storages make the same updates and products", "[property]") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  Draws draws(seed);
  TopologyRule rule;
  for (const char* source : {"magnitude", "random"}) {
    rule.operations = {{Kind::kRank, source, false}};
    for (const bool random : {false, true, false, true}) {
      CAPTURE(source, random);
      run_sequence(rule, random, draws, seed);
    }
  }
  rule.operations = {{Kind::kDrop, "magnitude", false}, {Kind::kGrow, "random", false}};
  rule.newborn_sd = 0.1;
  for (const bool random : {false, true}) {
    CAPTURE(random);
    run_sequence(rule, random, draws, seed);
  }
}

TEST_CASE("a superset comes back from its saved form", "[property]") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  Draws draws(seed);
  TopologyRule rule;
  rule.operations = {{Kind::kRank, "magnitude", false}};
  for (int i = 0; i < 5; ++i) {
    Network network(draws, seed + static_cast<std::uint64_t>(i));
    network.updater(&Layer::sparse, rule, draws.coin());
    for (const Layer& layer : network.layers) require_loads(layer.sparse, layer.shape);
  }
}

}  // namespace tandem::test::topology_superset_property
