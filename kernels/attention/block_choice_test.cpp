// The choice of blocks on a CPU against the double-precision reference.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "core/philox.h"
#include "kernels/attention/attention.h"
#include "kernels/spmm/spmm.h"

namespace tandem::test::block_choice_test {

using namespace kernels;
namespace {

struct BestTargetAgain {
  ~BestTargetAgain() { spmm_use_target(""); }
};

struct Setup {
  AttentionShape shape;
  std::int64_t slots;
  BlockSelector selector = {};
  bool documents = false, causal = true;
};

struct Problem {
  Setup setup;
  std::vector<std::int32_t> start;
  std::vector<double> q, k, kbar, importance;

  // Values are floats; `steps` makes them multiples of 1/2, so that products and sums are exact.
  explicit Problem(const Setup& s, bool steps = false) : setup(s) {
    const AttentionShape& a = s.shape;
    const auto fill = [steps](std::vector<double>& to, std::int64_t n, std::uint64_t seed) {
      const RandomStream stream{seed};
      for (std::int64_t i = 0; i < n; ++i) {
        const double value = 4 * stream.uniform(static_cast<std::size_t>(i)) - 2;
        to.push_back(steps ? std::round(2 * value) / 2 : static_cast<float>(value));
      }
    };
    fill(q, a.batch * a.tokens * a.heads * a.head_dim, 1);
    fill(k, a.batch * a.tokens * a.kv_heads * a.head_dim, 2);
    if (s.documents) {  // of about 33 tokens
      const RandomStream stream{5};
      for (std::int64_t i = 0; i < a.batch * a.tokens; ++i) {
        const bool begins = i % a.tokens == 0 || stream.uniform(static_cast<std::size_t>(i)) < 0.03;
        start.push_back(begins ? static_cast<std::int32_t>(i % a.tokens) : start.back());
      }
    }
  }

  std::size_t list_size() const {
    const AttentionShape& a = setup.shape;
    return static_cast<std::size_t>(a.batch * setup.selector.lists(a) * a.tokens * setup.slots);
  }
  template <class T>
  BlockChoice<T> call(const std::vector<T>& queries, const std::vector<T>& keys,
                      std::vector<std::int32_t>& to) const {
    return {.shape = setup.shape,
            .selector = setup.selector,
            .slots = setup.slots,
            .q = queries.data(),
            .k = keys.data(),
            .document_start = setup.documents ? start.data() : nullptr,
            .causal = setup.causal,
            .chosen = to.data()};
  }
  template <class T>
  std::vector<std::int32_t> run() const {
    std::vector<std::int32_t> chosen(list_size(), -7);
    const std::vector<T> queries(q.begin(), q.end()), keys(k.begin(), k.end());
    REQUIRE(select_blocks(call<T>(queries, keys, chosen)) == AttentionStatus::kOk);
    return chosen;
  }
  std::vector<std::int32_t> reference() {
    const AttentionShape& a = setup.shape;
    std::vector<std::int32_t> chosen(list_size());
    const BlockChoice<double> c = call<double>(q, k, chosen);
    kbar.resize(static_cast<std::size_t>(a.batch * a.complete_blocks() * a.kv_heads * a.head_dim));
    importance.resize(list_size() / static_cast<std::size_t>(setup.slots) *
                      static_cast<std::size_t>(a.complete_blocks()));
    REQUIRE(block_keys_ref(c, kbar.data()) == AttentionStatus::kOk);
    REQUIRE(block_importance_ref(c, kbar.data(), importance.data()) == AttentionStatus::kOk);
    REQUIRE(choose_blocks_ref(c, importance.data()) == AttentionStatus::kOk);
    return chosen;
  }
};

// Comparing vectors in CHECK would print all of them.
bool equal(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  return a == b;
}

std::vector<Setup> setups() {
  std::vector<Setup> all;
  for (const bool per_head : {false, true}) {
    for (const bool softmax : {false, true}) {
      for (const bool first : {false, true}) {
        const BlockSelector selector{per_head, softmax, first};
        all.push_back({{2, 150, 4, 1, 32, 16}, 4, selector});
        all.push_back({{1, 333, 6, 2, 10, 4}, 3, selector});
        all.push_back({{1, 200, 6, 2, 10, 4}, 5, selector, true});
        all.push_back({{2, 200, 2, 1, 8, 8}, 3, selector, true, false});
        all.push_back({{1, 130, 2, 1, 6, 8}, 4, selector, false, false});
      }
    }
  }
  all.push_back({{1, 300, 2, 2, 4, 1}, 80});           // more than is kept by insertion
  all.push_back({{1, 40, 64, 1, 4, 1}, 3});            // a group larger than a tile
  all.push_back({{1, 5, 2, 1, 4, 8}, 3});              // no complete block
  all.push_back({{1, 50, 2, 1, 4, 8}, 1});             // the own block alone
  all.push_back({{1, 2100, 4, 1, 4, 2}, 6});           // many panels
  all.push_back({{1, 600, 4, 1, 4, 2}, 6, {}, true});  // panels begin late
  return all;
}

}  // namespace

TEST_CASE("block choice vectors: double lists equal the reference's", "[parity]") {
  const BestTargetAgain again;
  for (const Setup& setup : setups()) {
    Problem problem(setup);
    const auto right = problem.reference();
    for (const std::string& target : spmm_targets()) {
      REQUIRE(spmm_use_target(target));
      CAPTURE(target, setup.shape.tokens, setup.shape.block_size, setup.slots,
              setup.selector.per_head, setup.selector.softmax, setup.documents, setup.causal);
      CHECK(equal(problem.run<double>(), right));
    }
  }
}

TEST_CASE("block choice vectors: float lists hold the most important blocks", "[parity]") {
  const BestTargetAgain again;
  for (const Setup& setup : setups()) {
    Problem problem(setup);
    const auto right = problem.reference();
    const auto complete = static_cast<std::size_t>(setup.shape.complete_blocks());
    const auto slots = static_cast<std::size_t>(setup.slots);
    for (const std::string& target : spmm_targets()) {
      REQUIRE(spmm_use_target(target));
      CAPTURE(target, setup.shape.tokens, setup.shape.block_size, setup.slots,
              setup.selector.per_head, setup.selector.softmax, setup.documents, setup.causal);
      const auto chosen = problem.run<float>();
      double worst = 0;
      bool same_length = true, ascending = true;
      for (std::size_t row = 0; row < chosen.size() / slots; ++row) {
        // What the lists add up to; a float may prefer another block of about the same importance.
        double sum = 0, right_sum = 0;
        for (std::size_t i = row * slots; i < (row + 1) * slots; ++i) {
          same_length = same_length && (chosen[i] < 0) == (right[i] < 0);
          ascending = ascending && (i == row * slots || chosen[i] < 0 || chosen[i] > chosen[i - 1]);
          const auto add = [&](std::int32_t block, double& to) {
            if (block < 0 || block >= static_cast<std::int32_t>(complete)) return;
            const double value =
                problem.importance[row * complete + static_cast<std::size_t>(block)];
            if (std::isfinite(value)) to += value;
          };
          add(chosen[i], sum);
          add(right[i], right_sum);
        }
        worst = std::max(worst, right_sum - sum);
      }
      CHECK(same_length);
      CHECK(ascending);
      CHECK(worst < 1e-5);
    }
  }
}

TEST_CASE("block choice vectors: equal importances go to the smaller index", "[parity]") {
  const BestTargetAgain again;
  for (const bool softmax : {false, true}) {
    for (const bool per_head : {false, true}) {
      for (const std::int64_t slots : {2, 5, 80}) {
        Setup setup{{1, 800, 4, 2, 4, 4}, slots, {per_head, softmax}};
        Problem problem(setup, /*steps=*/per_head || !softmax);
        // Sums of exponentials would only be about equal; with d = 4 the scale is exact too. Blocks
        // repeat, so that their pooled keys and importances are equal to the bit.
        for (std::size_t i = 3 * 4 * 8; i < problem.k.size(); ++i) {
          problem.k[i] = problem.k[i - 3 * 4 * 8];
        }
        const auto right = problem.reference();
        for (const std::string& target : spmm_targets()) {
          REQUIRE(spmm_use_target(target));
          CAPTURE(target, softmax, per_head, slots);
          CHECK(equal(problem.run<double>(), right));
          CHECK(equal(problem.run<float>(), right));
        }
      }
    }
  }
}

TEST_CASE("block choice vectors: items alone, and what is not a number", "[parity]") {
  Problem problem({{3, 150, 4, 2, 8, 8}, 4, {}, true});
  const auto all = problem.run<float>();
  std::vector<std::int32_t> apart(all.size(), -7);
  std::vector<float> q(problem.q.begin(), problem.q.end()), k(problem.k.begin(), problem.k.end());
  for (std::int64_t item = 2; item >= 0; --item) {
    BlockChoice<float> call = problem.call(q, k, apart);
    call.items = {item, 1};
    REQUIRE(select_blocks(call) == AttentionStatus::kOk);
  }
  CHECK(equal(apart, all));
  std::fill(apart.begin(), apart.end(), -7);
  const std::vector<std::uint8_t> full = {0, 1, 0};
  BlockChoice<float> some = problem.call(q, k, apart);
  some.full_items = full.data();
  REQUIRE(select_blocks(some) == AttentionStatus::kOk);
  const std::ptrdiff_t item_size = 2 * 150 * 4;
  CHECK(std::all_of(apart.begin() + item_size, apart.begin() + 2 * item_size,
                    [](std::int32_t block) { return block == -7; }));
  CHECK(std::equal(apart.begin() + 2 * item_size, apart.end(), all.begin() + 2 * item_size));

  k[0] = NAN;
  BlockChoice<float> call = problem.call(q, k, apart);
  REQUIRE(select_blocks(call) == AttentionStatus::kOk);
  // The lists are valid all the same, and those of other key heads and items are what they were.
  CHECK(check_attention(BlockAttention<float>{
            .shape = problem.setup.shape, .chosen = apart.data(), .lists = 2, .slots = 4}) ==
        AttentionStatus::kOk);
  CHECK(std::equal(all.begin() + 150 * 4, all.end(), apart.begin() + 150 * 4));
  call.slots = 0;
  CHECK(select_blocks(call) == AttentionStatus::kBadShape);
}

}  // namespace tandem::test::block_choice_test
