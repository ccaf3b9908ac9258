// The CPU implementation against the double-precision reference, over shapes, instruction sets and
// both precisions; and what must hold bit for bit.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <string>

#include "core/philox.h"
#include "kernels/attention/attention.h"
#include "kernels/spmm/spmm.h"

namespace tandem::test::attention_vectors_test {

using namespace kernels;
namespace {

struct BestTargetAgain {
  ~BestTargetAgain() { spmm_use_target(""); }
};

// Numbers that a float holds, so that both precisions see the same.
std::vector<double> uniform(std::int64_t n, std::uint64_t seed, double spread = 4) {
  const RandomStream stream{seed};
  std::vector<double> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(spread * (stream.uniform(i) - 0.5));
  }
  return values;
}

struct Setup {
  AttentionShape shape;
  std::int64_t slots = 0;  // 0: full attention
  BlockSelector selector = {};
  bool documents = false, causal = true, some_full = false;
};

std::string name(const Setup& s) {
  const AttentionShape& a = s.shape;
  std::string text;
  for (const std::int64_t n :
       {a.batch, a.tokens, a.heads, a.kv_heads, a.head_dim, a.block_size, s.slots}) {
    text += std::to_string(n) + " ";
  }
  return text + (s.selector.per_head ? "per head " : "") + (s.documents ? "documents " : "") +
         (s.causal ? "" : "both ways ") + (s.some_full ? "some full" : "");
}

template <class T>
struct Arrays {
  std::vector<T> q, k, v, d_o, o, lse, dq, dk, dv;
};

struct Problem {
  Setup setup;
  std::vector<std::int32_t> start, chosen;
  std::vector<std::uint8_t> full;
  Arrays<double> exact;

  explicit Problem(const Setup& s) : setup(s) {
    const AttentionShape& a = s.shape;
    const std::int64_t queries = a.batch * a.tokens * a.heads * a.head_dim;
    const std::int64_t keys = a.batch * a.tokens * a.kv_heads * a.head_dim;
    exact.q = uniform(queries, 1);
    exact.k = uniform(keys, 2);
    exact.v = uniform(keys, 3);
    exact.d_o = uniform(queries, 4);
    if (s.documents) {  // of about 17 tokens
      const RandomStream stream{5};
      for (std::int64_t i = 0; i < a.batch * a.tokens; ++i) {
        const bool begins = i % a.tokens == 0 || stream.uniform(static_cast<std::size_t>(i)) < 0.06;
        start.push_back(begins ? static_cast<std::int32_t>(i % a.tokens) : start.back());
      }
    }
    for (std::int64_t b = 0; s.some_full && b < a.batch; ++b) full.push_back(b % 2 == 0);
    if (s.slots > 0) {
      chosen.resize(static_cast<std::size_t>(a.batch * s.selector.lists(a) * a.tokens * s.slots));
      REQUIRE(select_blocks_ref(choice(exact, chosen)) == AttentionStatus::kOk);
    }
  }

  template <class T>
  Arrays<T> arrays() const {
    const auto as = [](const std::vector<double>& from) {
      return std::vector<T>(from.begin(), from.end());
    };
    return {.q = as(exact.q),
            .k = as(exact.k),
            .v = as(exact.v),
            .d_o = as(exact.d_o),
            .o = std::vector<T>(exact.q.size(), T{7}),
            .lse = std::vector<T>(exact.q.size() / static_cast<std::size_t>(setup.shape.head_dim),
                                  T{7}),
            .dq = std::vector<T>(exact.q.size(), T{7}),
            .dk = std::vector<T>(exact.k.size(), T{7}),
            .dv = std::vector<T>(exact.k.size(), T{7})};
  }
  template <class T>
  BlockChoice<T> choice(const Arrays<T>& a, std::vector<std::int32_t>& to) const {
    return {.shape = setup.shape,
            .selector = setup.selector,
            .slots = setup.slots,
            .q = a.q.data(),
            .k = a.k.data(),
            .document_start = setup.documents ? start.data() : nullptr,
            .causal = setup.causal,
            .chosen = to.data()};
  }
  template <class T>
  BlockAttentionGradient<T> call(Arrays<T>& a) const {
    return {.forward = {.shape = setup.shape,
                        .q = a.q.data(),
                        .k = a.k.data(),
                        .v = a.v.data(),
                        .chosen = setup.slots > 0 ? chosen.data() : nullptr,
                        .lists = setup.selector.lists(setup.shape),
                        .slots = setup.slots,
                        .full_items = setup.some_full ? full.data() : nullptr,
                        .document_start = setup.documents ? start.data() : nullptr,
                        .causal = setup.causal,
                        .o = a.o.data(),
                        .lse = a.lse.data()},
            .d_o = a.d_o.data(),
            .dq = a.dq.data(),
            .dk = a.dk.data(),
            .dv = a.dv.data()};
  }
  template <class T>
  Arrays<T> run() const {
    Arrays<T> a = arrays<T>();
    REQUIRE(attention_forward(call(a).forward) == AttentionStatus::kOk);
    REQUIRE(attention_backward(call(a)) == AttentionStatus::kOk);
    return a;
  }
  Arrays<double> reference() const {
    Arrays<double> a = arrays<double>();
    REQUIRE(attention_forward_ref(call(a).forward) == AttentionStatus::kOk);
    REQUIRE(attention_backward_ref(call(a)) == AttentionStatus::kOk);
    return a;
  }
};

// The largest difference, relative to the largest number of `right` or to one: what is zero in
// exact numbers is a difference of such ones.
template <class T>
double error(const std::vector<T>& got, const std::vector<double>& right) {
  double largest = 1, difference = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    largest = std::max(largest, std::abs(right[i]));
    difference = std::max(difference, std::abs(static_cast<double>(got[i]) - right[i]));
    if (std::isnan(got[i])) return INFINITY;
  }
  return difference / largest;
}

template <class T>
double error(const Arrays<T>& got, const Arrays<double>& right) {
  return std::max({error(got.o, right.o), error(got.lse, right.lse), error(got.dq, right.dq),
                   error(got.dk, right.dk), error(got.dv, right.dv)});
}

std::vector<Setup> setups() {
  const BlockSelector shared, each{.per_head = true}, plain{.per_head = true, .softmax = false};
  return {
      {{1, 1, 1, 1, 2, 1}, 0},
      {{1, 1, 1, 1, 2, 1}, 1},
      {{2, 37, 4, 1, 32, 16}, 0},
      {{2, 37, 4, 1, 32, 16}, 2},
      {{1, 100, 8, 2, 64, 16}, 4},
      {{1, 100, 8, 2, 64, 16}, 0},
      {{1, 130, 2, 2, 128, 128}, 1},
      {{1, 300, 2, 1, 8, 128}, 2},
      {{1, 70, 64, 1, 6, 8}, 3},
      {{1, 70, 64, 1, 6, 8}, 0},
      {{2, 33, 6, 2, 10, 1}, 5},
      {{1, 90, 5, 1, 36, 12}, 3},
      {{3, 50, 3, 3, 14, 7}, 3, each},
      {{1, 75, 12, 3, 16, 24}, 2, plain},
      {{1, 12, 4, 2, 2, 32}, 2},
      {{2, 64, 4, 1, 32, 16}, 9},
      {{2, 90, 4, 2, 24, 8}, 3, shared, true},
      {{2, 150, 4, 2, 24, 8}, 0, shared, true},
      {{2, 90, 4, 2, 24, 8}, 3, each, true, false},
      {{2, 150, 3, 1, 20, 16}, 0, shared, true, false},
      {{1, 150, 3, 1, 20, 16}, 0, shared, false, false},
      {{2, 80, 4, 1, 32, 16}, 3, shared, false, false},
      {{3, 70, 4, 1, 32, 16}, 2, shared, true, true, true},
      {{2, 1100, 1, 1, 4, 16}, 70},
      {{1, 700, 20, 1, 4, 32}, 22},
  };
}

}  // namespace

TEST_CASE("attention vectors: both passes agree with the reference", "[parity]") {
  const BestTargetAgain again;
  for (const Setup& setup : setups()) {
    CAPTURE(name(setup));
    const Problem problem(setup);
    const Arrays<double> right = problem.reference();
    for (const std::string& target : spmm_targets()) {
      CAPTURE(target);
      REQUIRE(spmm_use_target(target));
      CHECK(error(problem.run<double>(), right) < 1e-12);
      CHECK(error(problem.run<float>(), right) < 4e-6);
    }
  }
}

TEST_CASE("attention vectors: an item alone equals the item in company bit for bit", "[parity]") {
  for (const std::int64_t slots : {0, 2}) {
    const Problem problem(
        {.shape = {5, 53, 6, 2, 12, 8}, .slots = slots, .documents = true, .some_full = true});
    const Arrays<float> all = problem.run<float>();
    Arrays<float> apart = problem.arrays<float>();
    for (std::int64_t item = 4; item >= 0; --item) {
      BlockAttentionGradient<float> call = problem.call(apart);
      call.forward.items = {item, 1};
      REQUIRE(attention_forward(call.forward) == AttentionStatus::kOk);
      REQUIRE(attention_backward(call) == AttentionStatus::kOk);
      if (item == 2) CHECK(apart.o[0] == 7);  // of an item that is yet to come
    }
    CHECK((apart.o == all.o));
    CHECK((apart.lse == all.lse));
    CHECK((apart.dq == all.dq));
    CHECK((apart.dk == all.dk));
    CHECK((apart.dv == all.dv));
  }
}

TEST_CASE("attention vectors: an item that reads everything equals full attention", "[parity]") {
  const Problem some({.shape = {3, 70, 4, 2, 12, 8}, .slots = 2, .some_full = true});
  const Problem full({.shape = {3, 70, 4, 2, 12, 8}});
  const Arrays<float> mixed = some.run<float>(), all = full.run<float>();
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b, std::size_t item) {
    const auto size = static_cast<std::ptrdiff_t>(a.size() / 3);
    const auto from = static_cast<std::ptrdiff_t>(item) * size;
    return std::equal(a.begin() + from, a.begin() + from + size, b.begin() + from);
  };
  for (const std::size_t item : {0, 1, 2}) {  // items 0 and 2 are full
    CHECK(same(mixed.o, all.o, item) == (item != 1));
    CHECK(same(mixed.dq, all.dq, item) == (item != 1));
    CHECK(same(mixed.dk, all.dk, item) == (item != 1));
  }
}

TEST_CASE("attention vectors: any shape and any lists agree with the reference", "[parity]") {
  const RandomStream stream{11};
  std::size_t drawn = 0;
  const auto draw = [&](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(stream.uniform(drawn++) * static_cast<double>(most));
  };
  for (int round = 0; round < 60; ++round) {
    Setup setup;
    AttentionShape& a = setup.shape;
    a.kv_heads = draw(3);
    a.heads = a.kv_heads * draw(7);
    a = {draw(2), draw(120), a.heads, a.kv_heads, draw(70), draw(40)};
    setup.selector.per_head = draw(2) == 1;
    setup.slots = draw(5);
    setup.documents = draw(2) == 1;
    setup.causal = draw(2) == 1;
    Problem problem(setup);
    // The own block and some others at random; empty slots anywhere.
    for (std::size_t row = 0; row < problem.chosen.size() / static_cast<std::size_t>(setup.slots);
         ++row) {
      const auto own =
          static_cast<std::int32_t>(static_cast<std::int64_t>(row) % a.tokens / a.block_size);
      const std::int64_t last = setup.causal ? own : a.blocks() - 1;
      std::vector<std::int32_t> list = {own};
      for (std::int64_t i = 1; i < setup.slots; ++i) {
        const auto block = static_cast<std::int32_t>(draw(last + 1) - 1);
        if (std::find(list.begin(), list.end(), block) == list.end()) list.push_back(block);
      }
      std::sort(list.begin(), list.end());
      while (list.size() < static_cast<std::size_t>(setup.slots)) {
        list.insert(list.begin() + (draw(static_cast<std::int64_t>(list.size()) + 1) - 1), -1);
      }
      std::copy(list.begin(), list.end(),
                problem.chosen.begin() + static_cast<std::ptrdiff_t>(row) * setup.slots);
    }
    CAPTURE(round, name(setup));
    const Arrays<double> right = problem.reference();
    CHECK(error(problem.run<double>(), right) < 1e-12);
    CHECK(error(problem.run<float>(), right) < 4e-6);
  }
}

TEST_CASE("attention vectors: a budget that covers every block is full attention", "[parity]") {
  for (const bool per_head : {false, true}) {
    const Problem sparse(
        {.shape = {2, 150, 4, 2, 32, 16}, .slots = 10, .selector = {.per_head = per_head}});
    const Problem full({.shape = {2, 150, 4, 2, 32, 16}});
    CHECK(error(sparse.run<float>(), full.reference()) < 4e-6);
  }
}

TEST_CASE("attention vectors: what is dropped explains the gap", "[parity]") {
  // h_full - h_sparse = delta (h_drop - h_sparse), with delta = 1 - exp(lse_sparse - lse_full);
  // delta h_drop is what full attention reads beyond the list.
  const Problem sparse({.shape = {1, 96, 4, 1, 16, 16}, .slots = 3});
  const Problem full({.shape = {1, 96, 4, 1, 16, 16}});
  const Arrays<double> few = sparse.run<double>(), all = full.run<double>();
  Arrays<double> a = full.arrays<double>();
  std::vector<double> weights(4 * 96 * 96);
  attention_weights_ref(full.call(a).forward, weights.data());
  double worst = 0;
  for (std::size_t t = 0; t < 96; ++t) {
    const std::int32_t* list = sparse.chosen.data() + t * 3;
    for (std::size_t h = 0; h < 4; ++h) {
      const double delta = 1 - std::exp(few.lse[t * 4 + h] - all.lse[t * 4 + h]);
      for (std::size_t i = 0; i < 16; ++i) {
        double dropped = 0;  // delta h_drop
        for (std::size_t j = 0; j <= t; ++j) {
          if (std::find(list, list + 3, static_cast<std::int32_t>(j / 16)) == list + 3) {
            dropped += weights[(h * 96 + t) * 96 + j] * full.exact.v[j * 16 + i];
          }
        }
        const std::size_t at = (t * 4 + h) * 16 + i;
        worst = std::max(worst, std::abs(all.o[at] - few.o[at] - dropped + delta * few.o[at]));
      }
    }
  }
  CHECK(worst < 1e-13);
}

TEST_CASE("attention vectors: large scores, and what is not a number stays one", "[parity]") {
  Problem problem({.shape = {1, 40, 2, 1, 8, 8}, .slots = 2});
  problem.exact.q = uniform(40 * 2 * 8, 1, 4000);
  const Arrays<double> right = problem.reference();
  CHECK(error(problem.run<double>(), right) < 1e-10);
  const Arrays<float> got = problem.run<float>();
  CHECK(error(got.o, right.o) < 1e-2);  // scores of thousands, so exponents are off by 1e-4
  CHECK(error(got.lse, right.lse) < 1e-6);
  problem.exact.q[39 * 16] = NAN;
  const Arrays<float> bad = problem.run<float>();
  CHECK(std::isnan(bad.o[39 * 16]));
  CHECK(std::isnan(bad.lse[39 * 2]));
  CHECK(std::isnan(bad.dq[39 * 16 + 1]));
  CHECK(bad.o[38 * 16] == got.o[38 * 16]);
}

TEST_CASE("attention vectors: exp and log are exact to a few units of the last place", "[parity]") {
  // Two keys with values 1 and 0: o = e^x / (1 + e^x), and lse = log(1 + e^x), where x <= 0 is a
  // score beside one of zero.
  const std::int64_t n = 4096;
  const AttentionShape shape{n, 2, 1, 1, 1, 1};
  std::vector<float> q(2 * n, 1), k(2 * n, 0), v(2 * n, 0), o(2 * n), lse(2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    k[2 * i] = -static_cast<float>(i) * 85 / n;
    v[2 * i] = 1;
  }
  REQUIRE(attention_forward(BlockAttention<float>{.shape = shape,
                                                  .q = q.data(),
                                                  .k = k.data(),
                                                  .v = v.data(),
                                                  .o = o.data(),
                                                  .lse = lse.data()}) == AttentionStatus::kOk);
  double worst_exp = 0, worst_log = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double power = std::exp(static_cast<double>(k[2 * i]));
    worst_exp = std::max(worst_exp, std::abs(o[2 * i + 1] / (power / (1 + power)) - 1));
    worst_log = std::max(worst_log, std::abs(lse[2 * i + 1] - std::log(1 + power)));
  }
  CHECK(worst_exp < 3.6e-7);  // three roundings of 6e-8 beside exp's own
  CHECK(worst_log < 1.2e-7);
}

}  // namespace tandem::test::attention_vectors_test
