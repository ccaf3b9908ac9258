// What attention modules offer to who looks into a pass: rows of weights and choices of the queries
// that are asked for are those of the whole, by every selector, with and without blocked kernels.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "methods/method.h"
#include "nn/attention/blocked.h"
#include "nn/attention/selector.h"
#include "nn/attention/two_stream.h"
#include "nn/attention/view.h"
#include "nn/model.h"

namespace tandem::test::nn_view_numeric {

namespace {

struct Layer {
  at::Tensor q, k, v;
  AttentionSetting setting;
  AttentionTables tables;

  Layer(std::int64_t tokens, const std::string& score, bool per_head, std::int64_t blocks = 3) {
    torch::manual_seed(tokens);
    q = torch::randn({2, 2, tokens, 4, 8}, torch::kDouble);
    k = torch::randn({2, 2, tokens, 2, 8}, torch::kDouble);
    v = torch::randn({2, 2, tokens, 2, 8}, torch::kDouble);
    setting.block_size = 16;
    setting.blocks = blocks;
    setting.selector.score = score;
    setting.selector.per_head = per_head;
    setting.keys = torch::tensor({std::int64_t{5}, std::int64_t{6}});
    tables = AttentionTables(tokens, 16, q);
  }

  AttentionView view(StreamsWanted wanted, at::Tensor* returned = nullptr) const {
    AttentionView seen;
    Context context;
    context.plans.attention.wanted = wanted;
    context.observe_attention = [&seen](const std::string&, const AttentionView& offered) {
      seen = offered;
    };
    const at::Tensor out = attention({Level::kAttention, "a"}, q, k, v, setting, tables, context);
    if (returned != nullptr) *returned = out;
    return seen;
  }
};

}  // namespace

TEST_CASE("weights of the queries that are asked for, by plain loops", "[numeric]") {
  for (const std::int64_t tokens : {37, 300}) {
    const Layer layer(tokens, "softmax", false);
    const at::Tensor queries = torch::tensor({std::int64_t{0}, std::int64_t{5}, tokens - 1});
    const at::Tensor weights = layer.view(StreamsWanted::kFull).weights(queries);
    REQUIRE(weights.sizes() == at::IntArrayRef({2, 2, 4, 3, tokens}));
    const auto a = weights.accessor<double, 5>(), q = layer.q.accessor<double, 5>(),
               k = layer.k.accessor<double, 5>();
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t t = queries[i].item<std::int64_t>();
      for (std::int64_t h = 0; h < 4; ++h) {
        std::vector<double> row(static_cast<std::size_t>(tokens));
        double whole = 0;
        for (std::int64_t j = 0; j <= t; ++j) {
          double score = 0;
          for (std::int64_t d = 0; d < 8; ++d) score += q[1][0][t][h][d] * k[1][0][j][h / 2][d];
          row[static_cast<std::size_t>(j)] = std::exp(score / std::sqrt(8.0));
          whole += row[static_cast<std::size_t>(j)];
        }
        for (std::int64_t j = 0; j < tokens; ++j) {
          CHECK(a[1][0][h][i][j] == Approx(row[static_cast<std::size_t>(j)] / whole).margin(1e-14));
        }
      }
    }
  }
}

TEST_CASE("choices of the queries that are asked for, by every selector", "[numeric]") {
  for (const auto& [score, selector] : block_selectors().all()) {
    if (selector.learned != nullptr) continue;  // it needs scores of its own
    for (const bool per_head : {false, true}) {
      for (const std::int64_t tokens : {85, 300}) {
        CAPTURE(score, per_head, tokens);
        const Layer layer(tokens, score, per_head);
        CHECK(takes_blocked(layer.q) == (tokens == 300));
        const at::Tensor all = select_blocks(layer.q, layer.k, layer.setting, layer.tables);
        const at::Tensor queries = torch::tensor({std::int64_t{3}, std::int64_t{50}, tokens - 2});
        const AttentionView view = layer.view(StreamsWanted::kFull);
        CHECK(view.block_size == 16);
        CHECK(view.blocks == 3);
        CHECK(torch::equal(view.chosen(queries), all.index_select(3, queries)));
        CHECK(torch::equal(view.chosen(torch::arange(tokens)), all));
      }
    }
  }
}

TEST_CASE("with all blocks in the budget every query chooses those up to its own", "[numeric]") {
  const Layer layer(40, "softmax", false, 3);
  const at::Tensor chosen =
      layer.view(StreamsWanted::kFull).chosen(torch::tensor({std::int64_t{15}, std::int64_t{16}}));
  REQUIRE(chosen.sizes() == at::IntArrayRef({2, 2, 2, 2, 3}));
  CHECK(torch::equal(chosen[1][1][0],
                     torch::tensor({1, 0, 0, 1, 1, 0}).to(torch::kBool).view({2, 3})));
}

TEST_CASE("an observed pass computes what it computes, and offers its outputs", "[numeric]") {
  for (const std::int64_t tokens : {85, 300}) {
    const Layer layer(tokens, "softmax", false);
    for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse}) {
      at::Tensor returned;
      const AttentionView view = layer.view(wanted, &returned);
      Context context;
      context.plans.attention.wanted = wanted;
      const at::Tensor unseen = attention({Level::kAttention, "a"}, layer.q, layer.k, layer.v,
                                          layer.setting, layer.tables, context);
      CHECK(torch::equal(returned, unseen));
      REQUIRE(view.out.defined());
      CHECK(torch::equal(view.out, unseen));
    }
    CHECK_FALSE(layer.view(StreamsWanted::kBoth).out.defined());
  }
}

TEST_CASE("native sparse attention offers the branch over chosen blocks", "[numeric]") {
  const Config config = Config::resolve({{"data", "bytes"},
                                         {"model", "transformer"},
                                         {"attention", "nsa"},
                                         {"context", "32"},
                                         {"layers", "1"},
                                         {"width", "16"},
                                         {"heads", "4"},
                                         {"kv_heads", "2"},
                                         {"block_size", "4"},
                                         {"blocks", "3"}});
  ModelShape shape;
  shape.dtype = torch::kFloat64;
  const auto model = models().at("model", "transformer")({config}, shape);
  const at::NoGradGuard no_grad;
  Context context;
  AttentionView view;
  context.observe_attention = [&view](const std::string& layer, const AttentionView& offered) {
    CHECK(layer == "layer0.attention");
    view = offered;
  };
  model->forward(torch::arange(64).mul(37).remainder(256).view({1, 2, 32}), context);
  const at::Tensor queries = torch::tensor({std::int64_t{2}, std::int64_t{31}});
  const at::Tensor chosen = view.chosen(queries), weights = view.weights(queries);
  REQUIRE(chosen.sizes() == at::IntArrayRef({1, 2, 2, 2, 8}));
  REQUIRE(weights.sizes() == at::IntArrayRef({1, 2, 4, 2, 32}));
  CHECK(torch::allclose(weights.sum(-1), torch::ones({1, 2, 4, 2}, torch::kDouble)));
  // By default the first block and the nearest one are forced beside a query's own.
  const at::Tensor last = torch::tensor({1, 0, 0, 0, 0, 0, 1, 1}).to(torch::kBool);
  CHECK(torch::equal(chosen[0][1][1][1], last));
  CHECK_FALSE(view.out.defined());
}

}  // namespace tandem::test::nn_view_numeric
