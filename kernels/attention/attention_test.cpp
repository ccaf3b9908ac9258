// The reference against closed forms and brute force; it is the oracle of the tensor path.
#include "kernels/attention/attention.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

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
             std::int64_t slots = 0, const std::int32_t* document_start = nullptr,
             bool causal = true) const {
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
                                .document_start = document_start,
                                .causal = causal,
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
  const BlockChoice<double> call{.shape = shape, .selector = {}, .q = c.q.data(), .k = c.k.data()};
  REQUIRE(block_keys_ref(call, kbar.data()) == AttentionStatus::kOk);
  CHECK(kbar[1] == Approx((c.k[2] + c.k[3]) / 2));
  REQUIRE(block_importance_ref(call, kbar.data(), importance.data()) == AttentionStatus::kOk);
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
  const std::vector<std::uint8_t> every_item(2, 1);
  call.full_items = every_item.data();  // lists that nobody reads may be wrong
  CHECK(attention_forward_ref(call) == AttentionStatus::kOk);
  std::vector<std::int32_t> start(2 * 11, 0);
  call.document_start = start.data();
  CHECK(attention_forward_ref(call) == AttentionStatus::kOk);
  start[15] = 3;
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadDocuments);
  call.items = {0, 1};  // of which item 0 is all right
  CHECK(check_attention(call) == AttentionStatus::kOk);
  call.items = {1, 2};
  CHECK(check_attention(call) == AttentionStatus::kBadShape);
  call.items = {};
  call.lists = 4;
  call.document_start = nullptr;
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadShape);
  call.shape.kv_heads = 4;
  CHECK(attention_forward_ref(call) == AttentionStatus::kBadShape);
}

// Documents [0,5), [5,6), [6,11) and [0,2), [2,11): starts inside of blocks of 3, and a whole
// document inside of one block.
const std::vector<std::int32_t> kDocuments = {0, 0, 0, 0, 0, 5, 6, 6, 6, 6, 6,
                                              0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2};

TEST_CASE("attention reference: a document alone equals the document in company", "[parity]") {
  for (const bool causal : {true, false}) {
    const Case c(kShape);
    Case::Result whole = c.run({}, 0, 0, kDocuments.data(), causal);
    for (const auto& [item, from, to] :
         {std::array{0, 0, 5}, {0, 5, 6}, {0, 6, 11}, {1, 0, 2}, {1, 2, 11}}) {
      AttentionShape shape = kShape;
      shape.batch = 1;
      shape.tokens = to - from;
      Case one(shape);
      const auto cut = [&, from = from, to = to, row = item * 11](const auto& of, int width) {
        return std::vector<double>(of.begin() + (row + from) * width,
                                   of.begin() + (row + to) * width);
      };
      one.q = cut(c.q, 24);
      one.k = cut(c.k, 8);
      one.v = cut(c.v, 8);
      CHECK(one.run({}, 0, 0, nullptr, causal).o == cut(whole.o, 24));
    }
  }
}

TEST_CASE("block choice: documents hide the blocks and keys of others", "[parity]") {
  Case c(kShape);
  const auto choose = [&](const BlockSelector& selector, std::int64_t slots, bool causal) {
    std::vector<std::int32_t> chosen(
        static_cast<std::size_t>(2 * selector.lists(kShape) * 11 * slots));
    REQUIRE(select_blocks_ref(BlockChoice<double>{.shape = kShape,
                                                  .selector = selector,
                                                  .slots = slots,
                                                  .q = c.q.data(),
                                                  .k = c.k.data(),
                                                  .document_start = kDocuments.data(),
                                                  .causal = causal,
                                                  .chosen = chosen.data()}) ==
            AttentionStatus::kOk);
    return chosen;
  };
  const auto list = [](const std::vector<std::int32_t>& chosen, std::ptrdiff_t row) {
    return std::vector<std::int32_t>(chosen.begin() + row * 4, chosen.begin() + row * 4 + 4);
  };
  const auto chosen = choose({}, 4, true);
  CHECK(list(chosen, 4) == std::vector<std::int32_t>{0, 1, -1, -1});
  CHECK(list(chosen, 5) == std::vector<std::int32_t>{1, -1, -1, -1});
  CHECK(list(chosen, 10) == std::vector<std::int32_t>{2, 3, -1, -1});
  CHECK(list(chosen, 22 + 10) == std::vector<std::int32_t>{0, 1, 2, 3});  // item 1, group 0
  // The blocks that the document's end cuts are no candidates, also where all of it can be read.
  const auto both_ways = choose({}, 4, false);
  CHECK(list(both_ways, 0) == std::vector<std::int32_t>{0, -1, -1, -1});
  CHECK(list(both_ways, 4) == std::vector<std::int32_t>{0, 1, -1, -1});
  CHECK(list(both_ways, 22 + 2) == std::vector<std::int32_t>{0, 1, 2, -1});
  CHECK(list(both_ways, 22 + 10) == std::vector<std::int32_t>{0, 1, 2, 3});
  // Keys of another document change nothing.
  const auto forced = choose({.force_first = true}, 2, true);
  const auto free = choose({}, 2, true);
  for (std::size_t i = 0; i < 8; ++i) {
    c.k[i] = 9;       // item 0, token 0
    c.k[88 + i] = 9;  // item 1, token 0, which shares block 0 with the other document
  }
  const auto after = choose({}, 2, true);
  CHECK(std::equal(free.begin() + 11 * 2 * 2 + 4, free.end(), after.begin() + 11 * 2 * 2 + 4));
  CHECK(forced[(22 + 10) * 2] == 0);
}

TEST_CASE("attention reference: gradients agree with finite differences", "[parity]") {
  struct Variant {
    bool sparse, per_head, documents, causal, one_full;
  };
  for (const Variant& v :
       {Variant{false, false, false, true, false}, Variant{false, false, true, false, false},
        Variant{true, false, false, true, false}, Variant{true, true, true, true, false},
        Variant{true, false, true, false, true}}) {
    const Case c(kShape);
    const BlockSelector selector{.per_head = v.per_head};
    const std::int32_t* documents = v.documents ? kDocuments.data() : nullptr;
    std::vector<std::int32_t> chosen(static_cast<std::size_t>(2 * selector.lists(kShape) * 11 * 2));
    select_blocks_ref(BlockChoice<double>{.shape = kShape,
                                          .selector = selector,
                                          .slots = 2,
                                          .q = c.q.data(),
                                          .k = c.k.data(),
                                          .document_start = documents,
                                          .causal = v.causal,
                                          .chosen = chosen.data()});
    const std::vector<std::uint8_t> full = {0, 1};
    std::vector<double> o(c.q.size()), lse(c.q.size() / 4), dq(o), dk(c.k.size()), dv(dk);
    const std::vector<double> d_o = uniform(static_cast<std::int64_t>(o.size()), 4);
    const BlockAttentionGradient<double> call{
        .forward = {.shape = kShape,
                    .q = c.q.data(),
                    .k = c.k.data(),
                    .v = c.v.data(),
                    .chosen = v.sparse ? chosen.data() : nullptr,
                    .lists = selector.lists(kShape),
                    .slots = 2,
                    .full_items = v.one_full ? full.data() : nullptr,
                    .document_start = documents,
                    .causal = v.causal,
                    .o = o.data(),
                    .lse = lse.data()},
        .d_o = d_o.data(),
        .dq = dq.data(),
        .dk = dk.data(),
        .dv = dv.data()};
    REQUIRE(attention_forward_ref(call.forward) == AttentionStatus::kOk);
    REQUIRE(attention_backward_ref(call) == AttentionStatus::kOk);
    std::vector<double> other(o.size());
    BlockAttention<double> moved = call.forward;
    moved.o = other.data();
    moved.lse = nullptr;
    const auto loss = [&] {
      attention_forward_ref(moved);
      return std::inner_product(other.begin(), other.end(), d_o.begin(), 0.0);
    };
    const auto check = [&](std::vector<double> values, const double*& place,
                           const std::vector<double>& gradient) {
      place = values.data();
      for (std::size_t i = 0; i < values.size(); i += 7) {
        const double was = values[i], step = 1e-5;
        values[i] = was + step;
        const double above = loss();
        values[i] = was - step;
        const double below = loss();
        values[i] = was;
        CHECK(gradient[i] == Approx((above - below) / (2 * step)).epsilon(1e-6).margin(1e-8));
      }
    };
    check(c.q, moved.q, dq);
    moved.q = c.q.data();
    check(c.k, moved.k, dk);
    moved.k = c.k.data();
    check(c.v, moved.v, dv);
  }
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
