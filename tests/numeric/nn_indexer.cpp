// The learned selector of blocks against its equations, by plain loops in double precision: scores,
// what they choose, the divergence and whom its gradient reaches.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <vector>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "nn/attention/learned_selector.h"
#include "nn/attention/module.h"
#include "nn/attention/view.h"
#include "nn/outline.h"
#include "support/train_support.h"

namespace tandem::test::nn_indexer_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kBatch = 2, kHeads = 4, kKeyHeads = 2, kDim = 4, kWidth = 16;
constexpr std::int64_t kGroup = kHeads / kKeyHeads, kTokens = 26, kBlock = 4;

struct Net {
  std::vector<Config> configs;
  std::unique_ptr<AttentionModule> module;
  at::Tensor x, q, k, v, turn;
  AttentionTables tables;
  std::int64_t heads;
  bool mean;

  explicit Net(const Settings& more, const std::string& method = "moba") {
    Settings said = small_transformer({{"attention", method},
                                       {"attention_selector_score", "indexer"},
                                       {"blocks", "3"},
                                       {"dtype", "float64"}});
    for (const auto& [name, value] : more) said[name] = value;
    for (const char* seed : {"1", "2"}) {
      said["seed"] = seed;
      configs.push_back(Config::resolve(said));
    }
    heads = configs[0].integer("attention_indexer_heads");
    mean = configs[0].text("attention_indexer_pool") == "mean";
    ModelShape shape;
    shape.replicas = 2;
    shape.dtype = torch::kDouble;
    AttentionPlace place{"layer0", configs, shape, kWidth, kHeads, kKeyHeads, kDim, {}};
    place.setting.block_size = kBlock;
    place.setting.blocks = configs[0].integer("blocks");
    place.setting.selector = policies_of(configs[0], Level::kAttention).selector;
    module = attention_modules().at("attention_module", "two_stream").make(place);
    torch::manual_seed(4);
    const auto real = torch::dtype(torch::kDouble);
    x = torch::randn({2, kBatch * kTokens, kWidth}, real).requires_grad_(true);
    q = torch::randn({2, kBatch, kTokens, kHeads, kDim}, real).requires_grad_(true);
    k = torch::randn({2, kBatch, kTokens, kKeyHeads, kDim}, real).requires_grad_(true);
    v = torch::randn({2, kBatch, kTokens, kKeyHeads, kDim}, real).requires_grad_(true);
    turn = torch::randn({kTokens, 1, kDim}, real);  // stands for a rotation: depends on the place
    tables = AttentionTables(kTokens, kBlock, q);
    for (Parameter* each : module->parameters()) each->value.requires_grad_(true);
  }

  at::Tensor forward(Context& context) const {
    const auto rotate = [this](const at::Tensor& each) { return each * turn; };
    return module->forward({x, q, k, v, tables, rotate, {}}, context);
  }
  const at::Tensor& weight(const std::string& name) const {
    for (Parameter* each : module->parameters()) {
      if (each->name == "layer0.attention.indexer_" + name) return each->value;
    }
    throw std::logic_error("no parameter " + name);
  }
  // A row of x times a column of a weight.
  double projected(std::int64_t r, std::int64_t b, std::int64_t t, const at::Tensor& weight,
                   std::int64_t column) const {
    double sum = 0;
    const auto rows = x.accessor<double, 3>(), weights = weight.accessor<double, 3>();
    for (std::int64_t i = 0; i < kWidth; ++i) {
      sum += rows[r][b * kTokens + t][i] * weights[r][i][column];
    }
    return sum;
  }
  // I(t, b) of a key head g.
  double score(std::int64_t r, std::int64_t b, std::int64_t g, std::int64_t t,
               std::int64_t block) const {
    const auto turned = turn.accessor<double, 3>();
    std::vector<std::vector<double>> keys;
    for (std::int64_t s = block * kBlock; s < (block + 1) * kBlock; ++s) {
      std::vector<double> key;
      for (std::int64_t d = 0; d < kDim; ++d) {
        key.push_back(projected(r, b, s, weight("key"), g * kDim + d) * turned[s][0][d]);
      }
      keys.push_back(key);
    }
    if (mean) {
      std::vector<double> sum(kDim, 0);
      for (const auto& key : keys) {
        for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += key[d] / kBlock;
      }
      keys = {sum};
    }
    double best = -INFINITY;
    for (const auto& key : keys) {
      double all = 0;
      for (std::int64_t j = 0; j < heads; ++j) {
        double product = 0;
        for (std::int64_t d = 0; d < kDim; ++d) {
          product += projected(r, b, t, weight("query"), (g * heads + j) * kDim + d) *
                     turned[t][0][d] * key[static_cast<std::size_t>(d)];
        }
        product /= std::sqrt(static_cast<double>(kDim));
        all += projected(r, b, t, weight("weight"), g * heads + j) * std::max(0.0, product);
      }
      best = std::max(best, all / std::sqrt(static_cast<double>(heads)));
    }
    return best;
  }
  // Full attention's mass on a block, the heads of a key head added up.
  double mass(std::int64_t r, std::int64_t b, std::int64_t g, std::int64_t t,
              std::int64_t block) const {
    double sum = 0;
    const auto queries = q.accessor<double, 5>(), keys = k.accessor<double, 5>();
    for (std::int64_t h = g * kGroup; h < (g + 1) * kGroup; ++h) {
      double own = 0, all = 0;
      for (std::int64_t j = 0; j <= t; ++j) {
        double product = 0;
        for (std::int64_t d = 0; d < kDim; ++d) {
          product += queries[r][b][t][h][d] * keys[r][b][j][g][d];
        }
        const double e = std::exp(product / std::sqrt(static_cast<double>(kDim)));
        all += e;
        if (j / kBlock == block) own += e;
      }
      sum += own / all;
    }
    return sum;
  }
  // The blocks before a query's own that it reads: the best two by score.
  std::set<std::int64_t> best(std::int64_t r, std::int64_t b, std::int64_t g,
                              std::int64_t t) const {
    std::vector<std::pair<double, std::int64_t>> order;
    for (std::int64_t each = 0; each < t / kBlock; ++each) {
      order.emplace_back(-score(r, b, g, t, each), each);
    }
    std::sort(order.begin(), order.end());
    std::set<std::int64_t> read;
    for (std::size_t i = 0; i < std::min<std::size_t>(2, order.size()); ++i) {
      read.insert(order[i].second);
    }
    return read;
  }
  // The divergence of one run, over all past blocks or the chosen ones.
  double divergence(std::int64_t r, bool over_chosen) const {
    double sum = 0;
    std::int64_t queries = 0;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      for (std::int64_t g = 0; g < kKeyHeads; ++g) {
        for (std::int64_t t = kBlock; t < kTokens; ++t) {
          std::set<std::int64_t> among = best(r, b, g, t);
          for (std::int64_t each = 0; !over_chosen && each < t / kBlock; ++each) {
            among.insert(each);
          }
          double all_mass = 0, all_scores = 0;
          for (const std::int64_t each : among) {
            all_mass += mass(r, b, g, t, each);
            all_scores += std::exp(score(r, b, g, t, each));
          }
          for (const std::int64_t each : among) {
            const double p = mass(r, b, g, t, each) / all_mass;
            const double s = std::exp(score(r, b, g, t, each)) / all_scores;
            sum += p * std::log(p / s);
          }
          ++queries;
        }
      }
    }
    return sum / static_cast<double>(queries);
  }
};

// What a pass lets be seen of its attention.
struct Seen {
  at::Tensor weights, chosen;  // [R,B,H,T,T] and [R,B,L,T,NB]

  explicit Seen(Context& context) {
    context.observe_attention = [this](const std::string&, const AttentionView& view) {
      const at::Tensor all = torch::arange(kTokens, torch::kInt64);
      weights = view.weights(all).detach();
      chosen = view.chosen(all);
    };
  }
  bool selected(std::int64_t r, std::int64_t b, std::int64_t h, std::int64_t t,
                std::int64_t j) const {
    const std::int64_t list = chosen.size(2) == kHeads ? h : h / kGroup;
    return chosen[r][b][list][t][j / kBlock].item<bool>();
  }
};

Context running(StreamsWanted wanted) {
  Context context;
  context.plans.attention.wanted = wanted;
  context.plans.attention.running =
      wanted == StreamsWanted::kFull ? RunningStream::kFull : RunningStream::kSparse;
  return context;
}

}  // namespace

TEST_CASE("an indexer's scores choose what a query reads", "[numeric]") {
  for (const char* pool : {"max", "mean"}) {
    for (const char* heads : {"1", "3"}) {
      CAPTURE(pool, heads);
      const Net net(Settings{{"attention_indexer_pool", pool}, {"attention_indexer_heads", heads}});
      Context context = running(StreamsWanted::kSparse);
      const Seen seen(context);
      const at::NoGradGuard no_grad;
      net.forward(context);
      for (const std::int64_t t : {3, 9, 14, 23, 25}) {
        for (std::int64_t h = 0; h < kHeads; ++h) {
          std::set<std::int64_t> read = net.best(1, 1, h / kGroup, t);
          read.insert(t / kBlock);
          for (std::int64_t j = 0; j <= t; ++j) {
            CAPTURE(t, h, j);
            CHECK(seen.selected(1, 1, h, t, j) == (read.count(j / kBlock) != 0));
          }
        }
      }
    }
  }
}

TEST_CASE("an indexer learns its divergence from attention, and nothing else feels it",
          "[numeric]") {
  struct Way {
    const char* target;
    StreamsWanted wanted;
    bool over_chosen;
  };
  for (const Way& way :
       {Way{"full", StreamsWanted::kSparse, false}, Way{"chosen", StreamsWanted::kSparse, true},
        Way{"stream", StreamsWanted::kSparse, true}, Way{"stream", StreamsWanted::kFull, false},
        Way{"chosen", StreamsWanted::kFull, true}}) {
    CAPTURE(way.target, way.wanted);
    const Net net(
        Settings{{"attention_indexer_target", way.target}, {"attention_indexer_weight", "3"}},
        "alternate");
    Context context = running(way.wanted);
    net.forward(context);
    const at::Tensor loss = context.model_loss();
    REQUIRE(loss.sizes() == at::IntArrayRef({2}));
    for (std::int64_t r = 0; r < 2; ++r) {  // two layers, of which this is one
      CHECK(loss[r].item<double>() == Approx(1.5 * net.divergence(r, way.over_chosen)));
    }
    std::vector<at::Tensor> own, others = {net.x, net.q, net.k, net.v};
    for (Parameter* each : net.module->parameters()) own.push_back(each->value);
    for (const at::Tensor& each :
         torch::autograd::grad({loss.sum()}, others, {}, true, false, /*allow_unused=*/true)) {
      CHECK((!each.defined() || each.eq(0).all().item<bool>()));
    }
    const auto gradients = torch::autograd::grad({loss.sum()}, own);
    // Against differences, one weight of each parameter and run.
    for (std::size_t i = 0; i < own.size(); ++i) {
      for (std::int64_t r = 0; r < 2; ++r) {
        const at::NoGradGuard no_grad;
        at::Tensor entry = own[i][r][3][1];
        const double step = 1e-5;
        const auto at_offset = [&](double by) {
          entry.add_(by);
          const double value = 1.5 * net.divergence(r, way.over_chosen);
          entry.sub_(by);
          return value;
        };
        const double slope = (at_offset(step) - at_offset(-step)) / (2 * step);
        CHECK(gradients[i][r][3][1].item<double>() == Approx(slope).epsilon(1e-4).margin(1e-7));
      }
    }
  }
}

TEST_CASE("an indexer that learns nothing is refused", "[numeric]") {
  const auto layers = [](const Settings& more) {
    Settings said = small_transformer({{"attention", "moba"}});
    for (const auto& [name, value] : more) said[name] = value;
    const Config config = Config::resolve(said);
    return outline_of(config).layers(config, {});
  };
  const Settings none = {{"attention_indexer_weight", "0"}};
  CHECK_NOTHROW(layers(none));
  Settings indexed = {{"attention_selector_score", "indexer"}};
  CHECK_NOTHROW(layers(indexed));
  indexed.insert(none.begin(), none.end());
  CHECK_THROWS_AS(layers(indexed), ConfigError);
}

TEST_CASE("mixed streams learn over what each run's own stream reads", "[numeric]") {
  const Net net(Settings{}, "alternate");
  Context context = running(StreamsWanted::kSelected);
  context.plans.attention.running = RunningStream::kMixed;
  context.plans.attention.full_runs = torch::tensor({1, 0}).to(torch::kBool);
  net.forward(context);
  CHECK(context.model_loss()[0].item<double>() == Approx(0.5 * net.divergence(0, false)));
  CHECK(context.model_loss()[1].item<double>() == Approx(0.5 * net.divergence(1, true)));
}

TEST_CASE("without a gradient there is no divergence, and a full read-out needs no scores",
          "[numeric]") {
  const Net net(Settings{});
  const at::NoGradGuard no_grad;
  Context context = running(StreamsWanted::kFull);
  net.forward(context);
  CHECK_FALSE(context.model_loss().defined());
}

TEST_CASE("the penalty of entropy is the mean of the running stream's, in bits", "[numeric]") {
  Net net(Settings{{"attention_selector_score", "softmax"}, {"attention_entropy_penalty", "4"}});
  for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
    Context context = running(wanted);
    const Seen seen(context);
    net.forward(context);
    for (std::int64_t r = 0; r < 2; ++r) {
      double sum = 0;
      for (std::int64_t b = 0; b < kBatch; ++b) {
        for (std::int64_t h = 0; h < kHeads; ++h) {
          for (std::int64_t t = 0; t < kTokens; ++t) {
            std::vector<double> p;
            double all = 0;
            for (std::int64_t j = 0; j <= t; ++j) {
              const bool read = wanted == StreamsWanted::kFull || seen.selected(r, b, h, t, j);
              if (read) p.push_back(seen.weights[r][b][h][t][j].item<double>());
              if (read) all += p.back();
            }
            for (const double each : p) sum -= each / all * std::log2(each / all);
          }
        }
      }
      CHECK(context.model_loss()[r].item<double>() ==
            Approx(4.0 / 2 * sum / (kBatch * kHeads * kTokens)));
    }
    const auto gradients = torch::autograd::grad({context.model_loss().sum()}, {net.q, net.k});
    for (const at::Tensor& each : gradients) CHECK(each.isfinite().all().item<bool>());
  }
}

}  // namespace tandem::test::nn_indexer_numeric
