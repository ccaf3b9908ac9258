// The reference against closed forms and brute force; it is the oracle of the tensor path.
#include "kernels/attention/attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "core/philox.h"

namespace tandem::test::attention_test {

using namespace kernels;
namespace {

std::vector<double> uniform(std::int64_t n, std::uint64_t seed) {
  const RandomStream stream{seed};
  std::vector<double> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 4 * stream.uniform(i) - 2;
  return values;
}

struct Case {
  AttentionShape shape;
  std::vector<double> q, k, v;
  explicit Case(AttentionShape s)
      : shape(s),
        q(uniform(s.batch * s.tokens * s.heads * s.head_dim, 1)),
        k(uniform(s.batch * s.tokens * s.kv_heads * s.head_dim, 2)),
        v(uniform(s.batch * s.tokens * s.kv_heads * s.head_dim, 3)) {}

  struct Result {
    std::vector<double> o, lse, weights;
  };
  Result run(const std::vector<std::int32_t>& chosen = {}, std::int64_t lists = 0,
             std::int64_t slots = 0) const {
    Result result;
    result.o.resize(q.size());
    result.lse.resize(q.size() / static_cast<std::size_t>(shape.head_dim));
    result.weights.resize(result.lse.size() * static_cast<std::size_t>(shape.tokens));
    BlockAttention<double> call{.shape = shape,
                                .q = q.data(),
                                .k = k.data(),
                                .v = v.data(),
                                .chosen = chosen.empty() ? nullptr : chosen.data(),
                                .lists = lists,
                                .slots = slots,
                                .o = result.o.data(),
                                .lse = result.lse.data()};
    REQUIRE(attention_forward_ref(call) == AttentionStatus::kOk);
    REQUIRE(attention_weights_ref(call, result.weights.data()) == AttentionStatus::kOk);
    return result;
  }
};

const AttentionShape kShape{
    .batch = 2, .tokens = 11, .heads = 6, .kv_heads = 2, .head_dim = 4, .block_size = 3};

}  // namespace

TEST_CASE("attention reference: zero queries average the past values", "[parity]") {
  Case c({.batch = 1, .tokens = 5, .heads = 2, .kv_heads = 1, .head_dim = 3, .block_size = 2});
  std::fill(c.q.begin(), c.q.end(), 0.0);
  const auto result = c.run();
  for (std::size_t t = 0; t < 5; ++t) {
    for (std::size_t h = 0; h < 2; ++h) {
      CHECK(result.lse[t * 2 + h] == Approx(std::log(t + 1.0)));
      for (std::size_t d = 0; d < 3; ++d) {
        double mean = 0;
        for (std::size_t j = 0; j <= t; ++j) mean += c.v[j * 3 + d] / (t + 1.0);
        CHECK(result.o[(t * 2 + h) * 3 + d] == Approx(mean).margin(1e-14));
      }
    }
  }
}

TEST_CASE("attention reference: blocks renormalise the full weights", "[parity]") {
  const Case c(kShape);
  const BlockSelector selector;
  const auto chosen = select_blocks_ref(kShape, selector, 2, c.q.data(), c.k.data());
  const auto full = c.run(), sparse = c.run(chosen, 2, 2);
  const std::size_t tokens = 11, heads = 6;
  for (std::size_t b = 0; b < 2; ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < tokens; ++t) {
        const std::size_t row = ((b * heads + h) * tokens + t) * tokens;
        const std::int32_t* list = &chosen[((b * 2 + h / 3) * tokens + t) * 2];
        double kept = 0;
        for (std::size_t j = 0; j <= t; ++j) {
          const auto block = static_cast<std::int32_t>(j / 3);
          if (block == list[0] || block == list[1]) kept += full.weights[row + j];
        }
        double total = 0;
        for (std::size_t j = 0; j < tokens; ++j) {
          const double weight = sparse.weights[row + j];
          total += weight;
          if (weight != 0) CHECK(weight == Approx(full.weights[row + j] / kept));
        }
        CHECK(total == Approx(1));
        const std::size_t lse = (b * tokens + t) * heads + h;
        CHECK(sparse.lse[lse] - full.lse[lse] == Approx(std::log(kept)).margin(1e-12));
      }
    }
  }
}

TEST_CASE("attention reference: a budget that covers every block is full attention", "[parity]") {
  const Case c(kShape);
  for (const bool per_head : {false, true}) {
    const BlockSelector selector{.per_head = per_head};
    const auto chosen = select_blocks_ref(kShape, selector, 9, c.q.data(), c.k.data());
    const auto full = c.run(), sparse = c.run(chosen, selector.lists(kShape), 9);
    CHECK(sparse.o == full.o);
    CHECK(sparse.lse == full.lse);
  }
}

TEST_CASE("attention reference: grouped heads equal repeated key heads", "[parity]") {
  const Case c(kShape);
  AttentionShape wide = kShape;
  wide.kv_heads = kShape.heads;
  Case repeated(wide);
  repeated.q = c.q;
  const std::size_t d = 4, group = 3;
  for (std::size_t row = 0; row < 22; ++row) {
    for (std::size_t h = 0; h < 6; ++h) {
      for (std::size_t i = 0; i < d; ++i) {
        repeated.k[(row * 6 + h) * d + i] = c.k[(row * 2 + h / group) * d + i];
        repeated.v[(row * 6 + h) * d + i] = c.v[(row * 2 + h / group) * d + i];
      }
    }
  }
  CHECK(repeated.run().o == c.run().o);
  const BlockSelector selector{.per_head = true, .softmax = false};
  const auto lists = select_blocks_ref(kShape, selector, 2, c.q.data(), c.k.data());
  CHECK(lists == select_blocks_ref(wide, selector, 2, repeated.q.data(), repeated.k.data()));
  CHECK(repeated.run(lists, 6, 2).o == c.run(lists, 6, 2).o);
}

TEST_CASE("block choice: own block first, ties to the smaller index, short tail", "[parity]") {
  AttentionShape shape{
      .batch = 1, .tokens = 11, .heads = 1, .kv_heads = 1, .head_dim = 2, .block_size = 2};
  Case c(shape);
  std::fill(c.k.begin(), c.k.end(), 1.0);  // every block scores the same
  const auto lists = [&](const BlockSelector& selector, std::int64_t slots) {
    return select_blocks_ref(shape, selector, slots, c.q.data(), c.k.data());
  };
  for (const bool softmax : {true, false}) {
    const auto chosen = lists({.softmax = softmax}, 3);
    const std::vector<std::int32_t> last(chosen.end() - 3, chosen.end());
    CHECK(last == std::vector<std::int32_t>{0, 1, 5});
    for (std::int32_t t = 0; t < 11; ++t) {
      CHECK(lists({.softmax = softmax, .force_first = true}, 1)[static_cast<std::size_t>(t)] ==
            t / 2);
    }
  }
  // Block 0 points away from every query: it is chosen only where it is forced.
  std::fill(c.q.begin(), c.q.end(), 1.0);
  std::fill(c.k.begin(), c.k.begin() + 4, -1.0);
  const auto free = lists({}, 2), forced = lists({.force_first = true}, 2);
  CHECK(std::vector<std::int32_t>(free.end() - 2, free.end()) == std::vector<std::int32_t>{1, 5});
  CHECK(std::vector<std::int32_t>(forced.end() - 2, forced.end()) ==
        std::vector<std::int32_t>{0, 5});
}

TEST_CASE("block importance: softmax counts the own block at its last query", "[parity]") {
  AttentionShape shape{
      .batch = 1, .tokens = 6, .heads = 2, .kv_heads = 1, .head_dim = 1, .block_size = 2};
  Case c(shape);
  std::fill(c.q.begin(), c.q.end(), 0.0);
  std::vector<double> kbar(3), importance(6 * 3);
  REQUIRE(block_keys_ref(shape, c.k.data(), kbar.data()) == AttentionStatus::kOk);
  CHECK(kbar[1] == Approx((c.k[2] + c.k[3]) / 2));
  REQUIRE(block_importance_ref(shape, {}, c.q.data(), kbar.data(), importance.data()) ==
          AttentionStatus::kOk);
  CHECK(importance[4 * 3 + 1] == Approx(2 * 0.5));  // two complete blocks before token 4
  CHECK(importance[5 * 3 + 1] == Approx(2.0 / 3));  // at token 5 block 2 is complete as well
  CHECK(std::isinf(importance[5 * 3 + 2]));
}

TEST_CASE("attention reference: wrong shapes and lists are refused", "[parity]") {
  Case c(kShape);
  std::vector<double> o(c.q.size());
  std::vector<std::int32_t> chosen(2 * 2 * 11 * 2, -1);
  BlockAttention<double> call{.shape = kShape,
                              .q = c.q.data(),
                              .k = c.k.data(),
                              .v = c.v.data(),
                              .chosen = chosen.data(),
                              .lists = 2,
                              .slots = 2,
                              .o = o.data()};
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadChoice);  // no own block
  call.lists = 4;
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadShape);
  call.shape.kv_heads = 4;
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadShape);
}

TEST_CASE("pair counts agree with the lists", "[parity]") {
  const Case c(kShape);
  for (std::int64_t slots = 1; slots <= 5; ++slots) {
    const auto result =
        c.run(select_blocks_ref(kShape, {}, slots, c.q.data(), c.k.data()), 2, slots);
    const auto pairs = std::count_if(result.weights.begin(), result.weights.begin() + 11 * 11,
                                     [](double w) { return w != 0; });
    CHECK(pairs == attended_pairs(11, 3, slots));
  }
  CHECK(attended_pairs(11, 3, 4) == 11 * 12 / 2);
  CHECK(scored_block_pairs(11, 3) == 3 * 1 + 3 * 2 + 3 * 3);
}

}  // namespace tandem::test::attention_test
