// Attention by blocked kernels against whole matrices, as the engine runs them, with gradients.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "nn/attention/blocked.h"
#include "nn/attention/two_stream.h"

namespace tandem::test::nn_blocked_numeric {
namespace {

struct Outcome {
  at::Tensor out, dq, dk, dv;
};

struct Case {
  at::Tensor q, k, v, weights;
  AttentionSetting setting;
  AttentionTables tables;

  Case(std::int64_t tokens, AttentionSetting s, at::ScalarType dtype) : setting(std::move(s)) {
    torch::manual_seed(9);
    const auto real = torch::dtype(dtype);
    q = torch::randn({2, 2, tokens, 4, 8}, real).requires_grad_(true);
    k = torch::randn({2, 2, tokens, 2, 8}, real).requires_grad_(true);
    v = torch::randn({2, 2, tokens, 2, 8}, real).requires_grad_(true);
    weights = torch::randn(q.sizes(), real);
    setting.keys = torch::tensor({std::int64_t{5}, std::int64_t{6}});
    tables = AttentionTables(tokens, setting.block_size, q);
  }

  Outcome run(StreamsWanted wanted, bool by_matrices, const at::Tensor& full_runs = {}) const {
    Context context;
    LevelPlan& plan = context.plans.attention;
    plan.wanted = wanted;
    plan.running = RunningStream::kMixed;
    plan.full_runs = full_runs;
    if (wanted == StreamsWanted::kBoth) {
      plan.full_coefficient = plan.sparse_coefficient =
          torch::full({2}, 3.0, q.options().requires_grad(false));
    }
    const at::Tensor out =
        by_matrices ? attention_by_matrices(q, k, v, setting, tables, context)
                    : attention({Level::kAttention, "a"}, q, k, v, setting, tables, context);
    at::Tensor loss = (out * weights).sum();
    if (context.alignment().defined()) loss = loss + context.alignment().sum();
    const auto gradients = torch::autograd::grad({loss}, {q, k, v});
    return {out.detach(), gradients[0], gradients[1], gradients[2]};
  }
};

void require_close(const Outcome& a, const Outcome& b, double tolerance) {
  for (const auto& [x, y] : {std::pair(a.out, b.out), {a.dq, b.dq}, {a.dk, b.dk}, {a.dv, b.dv}}) {
    CAPTURE((x - y).abs().max().item<double>());
    REQUIRE(torch::allclose(x, y, tolerance, tolerance));
  }
}

}  // namespace

TEST_CASE("blocked attention is that of whole matrices, in every stream and by every selector",
          "[numeric]") {
  for (const auto& [score, selector] : block_selectors().all()) {
    if (selector.learned != nullptr) continue;  // it needs scores of its own
    for (const bool per_head : {false, true}) {
      for (const std::int64_t tokens : {256, 301}) {
        DYNAMIC_SECTION(score << (per_head ? " head " : " group ") << tokens) {
          AttentionSetting setting{.block_size = 16, .blocks = 3, .selector = {}};
          setting.selector.score = score;
          setting.selector.per_head = per_head;
          if (tokens == 301 && score != "softmax") setting.selector.nearest = 1;
          if (tokens == 301 && score == "softmax") setting.selector.force_first = true;
          if (tokens == 256 && selector.shares) setting.selector.top_p = 0.4;
          const Case each(tokens, setting, torch::kFloat64);
          REQUIRE(takes_blocked(each.q));
          const at::Tensor mixed = torch::tensor({1, 0}).to(torch::kBool);
          for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse,
                                             StreamsWanted::kSelected, StreamsWanted::kBoth}) {
            CAPTURE(static_cast<int>(wanted));
            require_close(each.run(wanted, false, mixed), each.run(wanted, true, mixed), 1e-9);
          }
        }
      }
    }
  }
}

// The kernels know some options of a selector; a choice by any other must not be theirs.
TEST_CASE("every option of a selector counts beside blocked attention", "[numeric]") {
  using Selector = Policies::Selector;
  const std::vector<void (*)(Selector&)> options = {
      [](Selector& s) { s.per_head = true; },  [](Selector& s) { s.force_first = true; },
      [](Selector& s) { s.nearest = 2; },      [](Selector& s) { s.top_p = 0.3; },
      [](Selector& s) { s.streaming = true; }, [](Selector& s) { s.score = "dot"; }};
  AttentionSetting setting{.block_size = 8, .blocks = 8, .selector = {}};
  const Case plain(320, setting, torch::kFloat64);
  const at::Tensor lists = lists_of_blocks(plain.q, plain.k, plain.setting, plain.tables);
  for (std::size_t i = 0; i < options.size(); ++i) {
    CAPTURE(i);
    Case other(320, setting, torch::kFloat64);
    options[i](other.setting.selector);
    const at::Tensor own = lists_of_blocks(other.q, other.k, other.setting, other.tables);
    CHECK_FALSE((own.sizes() == lists.sizes() && torch::equal(own, lists)));
    const at::Tensor mixed = torch::tensor({1, 0}).to(torch::kBool);
    for (const StreamsWanted wanted : {StreamsWanted::kSparse, StreamsWanted::kBoth}) {
      require_close(other.run(wanted, false, mixed), other.run(wanted, true, mixed), 1e-9);
    }
  }
}

TEST_CASE("a budget of all blocks is the full stream of the kernels, bit for bit", "[numeric]") {
  AttentionSetting setting{.block_size = 16, .blocks = 17, .selector = {}};
  const Case each(260, setting, torch::kFloat);
  const Outcome full = each.run(StreamsWanted::kFull, false);
  const Outcome sparse = each.run(StreamsWanted::kSparse, false);
  CHECK(torch::equal(full.out, sparse.out));
  CHECK(torch::equal(full.dk, sparse.dk));
}

TEST_CASE("a replica's blocked attention is the same alone", "[numeric]") {
  AttentionSetting setting{.block_size = 16, .blocks = 3, .selector = {}};
  const Case each(300, setting, torch::kFloat);
  const Outcome both = each.run(StreamsWanted::kSparse, false);
  Case alone = each;
  alone.q = each.q.detach().narrow(0, 1, 1).requires_grad_(true);
  alone.k = each.k.detach().narrow(0, 1, 1).requires_grad_(true);
  alone.v = each.v.detach().narrow(0, 1, 1).requires_grad_(true);
  alone.weights = each.weights.narrow(0, 1, 1);
  const Outcome own = alone.run(StreamsWanted::kSparse, false);
  CHECK(torch::equal(own.out[0], both.out[1]));
  CHECK(torch::equal(own.dq[0], both.dq[1]));
  CHECK(torch::equal(own.dk[0], both.dk[1]));
  CHECK(torch::equal(own.dv[0], both.dv[1]));
}

TEST_CASE("lengths and devices say which attention it is", "[numeric]") {
  CHECK(takes_blocked(torch::zeros({1, 1, 256, 2, 4})));
  CHECK_FALSE(takes_blocked(torch::zeros({1, 1, 255, 2, 4})));
}

}  // namespace tandem::test::nn_blocked_numeric
