// Selectors of blocks against their definitions, by plain loops in double precision.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <vector>

#include "config/option.h"
#include "data/tensor.h"
#include "nn/attention/selector.h"

namespace tandem::test::nn_selectors_numeric {
namespace {

constexpr std::int64_t kReplicas = 2, kBatch = 2, kTokens = 43, kHeads = 4, kKeyHeads = 2, kDim = 6;
constexpr std::int64_t kGroup = kHeads / kKeyHeads;

struct Case {
  at::Tensor q, k;
  AttentionSetting setting;
  AttentionTables tables;

  Case(AttentionSetting s, std::int64_t tokens = kTokens) : setting(std::move(s)) {
    torch::manual_seed(3);
    const auto real = torch::dtype(torch::kFloat64);
    // The same numbers at the beginning of every length.
    q = torch::randn({kTokens, kReplicas, kBatch, kHeads, kDim}, real).slice(0, 0, tokens);
    k = torch::randn({kTokens, kReplicas, kBatch, kKeyHeads, kDim}, real).slice(0, 0, tokens);
    q = (q * 1.5).permute({1, 2, 0, 3, 4}).contiguous();
    k = (k * 1.5).permute({1, 2, 0, 3, 4}).contiguous();
    if (!setting.keys.defined()) setting.keys = torch::tensor({std::int64_t{17}, std::int64_t{23}});
    tables = AttentionTables(tokens, setting.block_size, q);
  }

  std::int64_t block(std::int64_t t) const { return t / setting.block_size; }
  std::int64_t lists() const { return setting.selector.per_head ? kHeads : kKeyHeads; }
  at::Tensor chosen() const { return select_blocks(q, k, setting, tables); }
  // The blocks that a query reads.
  std::set<std::int64_t> of(const at::Tensor& chosen, std::int64_t r, std::int64_t b,
                            std::int64_t list, std::int64_t t) const {
    std::set<std::int64_t> read;
    const at::Tensor row = chosen[r][b][list][t];
    for (std::int64_t i = 0; i < row.size(0); ++i) {
      if (row[i].item<bool>()) read.insert(i);
    }
    return read;
  }
  // q_t.x / sqrt(d) of a head.
  double product(std::int64_t r, std::int64_t b, std::int64_t h, std::int64_t t,
                 const std::vector<double>& x) const {
    double sum = 0;
    const auto own = q.accessor<double, 5>();
    for (std::int64_t i = 0; i < kDim; ++i)
      sum += own[r][b][t][h][i] * x[static_cast<std::size_t>(i)];
    return sum / std::sqrt(static_cast<double>(kDim));
  }
  std::vector<double> mean(std::int64_t r, std::int64_t b, std::int64_t g, std::int64_t first,
                           std::int64_t count) const {
    std::vector<double> sum(kDim, 0);
    const auto keys = k.accessor<double, 5>();
    for (std::int64_t j = first; j < first + count; ++j) {
      for (std::int64_t i = 0; i < kDim; ++i) {
        sum[static_cast<std::size_t>(i)] += keys[r][b][j][g][i] / static_cast<double>(count);
      }
    }
    return sum;
  }

  // Importance of a past block to a query's head, by the definition of its score.
  double importance(std::int64_t r, std::int64_t b, std::int64_t h, std::int64_t t,
                    std::int64_t wanted) const {
    const std::int64_t size = setting.block_size, g = h / kGroup;
    const std::string& score = setting.selector.score;
    if (score == "oracle") {
      double mass = 0, all = 0;
      for (std::int64_t j = 0; j <= t; ++j) {
        const double e = std::exp(product(r, b, h, t, mean(r, b, g, j, 1)));
        all += e;
        if (block(j) == wanted) mass += e;
      }
      return mass / all;
    }
    const auto of_block = [&](std::int64_t each) {
      if (score != "subblock") return product(r, b, h, t, mean(r, b, g, each * size, size));
      const std::int64_t part = size / setting.selector.subblocks;
      double sum = 0;
      for (std::int64_t first = each * size; first < (each + 1) * size; first += part) {
        sum += std::exp(product(r, b, h, t, mean(r, b, g, first, part)));
      }
      return std::log(sum);
    };
    if (score == "dot") return of_block(wanted);
    double all = 0;
    for (std::int64_t each = 0; each < (t + 1) / size; ++each) all += std::exp(of_block(each));
    return std::exp(of_block(wanted)) / all;
  }

  // The kernel's loop: a list of as many blocks as a chunk has, in which the worse half gives way
  // to the better half of the next chunk.
  template <class Importance>
  std::set<std::int64_t> streamed(std::int64_t own, const Importance& importance_of) const {
    using Entry = std::pair<double, std::int64_t>;
    const std::int64_t chunk = setting.block_size;
    std::vector<Entry> list;
    for (std::int64_t first = 0; first <= own; first += chunk) {
      std::vector<Entry> next;
      for (std::int64_t each = first; each < first + chunk; ++each) {
        if (each > own) continue;
        const bool forced = each == own || (setting.selector.force_first && each == 0);
        next.emplace_back(each == own ? -INFINITY : forced ? -1e300 : -importance_of(each), each);
      }
      std::stable_sort(next.begin(), next.end());
      if (first == 0) {
        list = next;
        continue;
      }
      const auto half = static_cast<std::size_t>(chunk / 2);
      list.resize(std::min(list.size(), half));
      next.resize(std::min(next.size(), half));
      list.insert(list.end(), next.begin(), next.end());
      std::stable_sort(list.begin(), list.end());
    }
    std::set<std::int64_t> read;
    for (const Entry& each : list) {
      if (static_cast<std::int64_t>(read.size()) < setting.blocks) read.insert(each.second);
    }
    return read;
  }

  // What a query reads by brute force: its own block, what is forced, and the best others.
  std::set<std::int64_t> expected(std::int64_t r, std::int64_t b, std::int64_t list,
                                  std::int64_t t) const {
    const Policies::Selector& rule = setting.selector;
    const std::int64_t own = block(t);
    const auto of_list = [&](std::int64_t each) {
      if (rule.per_head) return importance(r, b, list, t, each);
      double sum = 0;
      for (std::int64_t h = list * kGroup; h < (list + 1) * kGroup; ++h) {
        sum += importance(r, b, h, t, each);
      }
      return sum;
    };
    if (rule.streaming) return streamed(own, of_list);
    std::vector<std::pair<double, std::int64_t>> order;
    double whole = 0;
    for (std::int64_t each = 0; each < own; ++each) {
      const double sum = of_list(each);
      whole += std::max(0.0, sum);
      const bool forced = (rule.force_first && each == 0) || own - each <= rule.nearest;
      order.emplace_back(forced ? -INFINITY : -sum, each);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& x, const auto& y) { return x.first < y.first; });
    std::set<std::int64_t> read = {own};
    double before = 0;
    for (const auto& [minus, each] : order) {
      if (static_cast<std::int64_t>(read.size()) >= setting.blocks) break;
      if (rule.top_p < 1 && minus != -INFINITY && before >= rule.top_p * whole) break;
      read.insert(each);
      before += of_list(each);
    }
    return read;
  }
};

AttentionSetting setting_of(const std::string& score, bool per_head, std::int64_t blocks = 4) {
  AttentionSetting setting{.block_size = 4, .blocks = blocks, .selector = {}};
  setting.selector.score = score;
  setting.selector.per_head = per_head;
  setting.selector.subblocks = 2;
  setting.selector.stride = 3;
  return setting;
}

void require_expected(const Case& each) {
  const at::Tensor chosen = each.chosen();
  REQUIRE(chosen.sizes() == at::IntArrayRef({kReplicas, kBatch, each.lists(), kTokens, 11}));
  for (std::int64_t r = 0; r < kReplicas; ++r) {
    for (std::int64_t b = 0; b < kBatch; ++b) {
      for (std::int64_t list = 0; list < each.lists(); ++list) {
        for (std::int64_t t = 0; t < kTokens; t += 3) {
          CAPTURE(r, b, list, t);
          REQUIRE(each.of(chosen, r, b, list, t) == each.expected(r, b, list, t));
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("an option names every selector that there is", "[numeric]") {
  std::vector<std::string> choices = option("attention_selector_score").choices, names;
  for (const auto& [name, selector] : block_selectors().all()) names.push_back(name);
  std::sort(choices.begin(), choices.end());
  CHECK(choices == names);
}

TEST_CASE("a streaming choice is what the kernel's loop over chunks of blocks leaves",
          "[numeric]") {
  for (const std::string score : {"softmax", "dot"}) {
    for (const bool per_head : {false, true}) {
      for (const std::int64_t blocks : {2, 3, 4}) {
        for (const bool first : {false, true}) {
          CAPTURE(score, per_head, blocks, first);
          Case streaming(setting_of(score, per_head, blocks));
          streaming.setting.selector.streaming = true;
          streaming.setting.selector.force_first = first;
          require_expected(streaming);
        }
      }
    }
  }
}

// SSA's setting: 16 blocks of 16 keys, 8 of them from the last 16 blocks and 8 from all before.
TEST_CASE("how far a streaming choice is from the exact one falls with the number of blocks",
          "[numeric]") {
  const auto shared = [](std::int64_t blocks) {
    AttentionSetting setting{.block_size = 16, .blocks = 16, .selector = {}};
    const std::int64_t tokens = 16 * blocks;
    torch::manual_seed(5);
    const at::Tensor q = torch::randn({1, 1, tokens, 1, 8});
    const at::Tensor k = torch::randn({1, 1, tokens, 1, 8});
    const AttentionTables tables(tokens, 16, q);
    const at::Tensor exact = select_blocks(q, k, setting, tables);
    setting.selector.streaming = true;
    const at::Tensor streaming = select_blocks(q, k, setting, tables);
    const auto of_last = [&](const at::Tensor& chosen) {
      return chosen.slice(3, tokens - 16).to(torch::kDouble).sum(-1);
    };
    return (of_last(exact.logical_and(streaming)) / of_last(exact)).mean().item<double>();
  };
  CHECK(shared(16) == 1);
  const double at_64 = shared(64), at_128 = shared(128);
  CAPTURE(at_64, at_128);
  CHECK((at_64 > 0.6 && at_64 < 0.85));
  CHECK((at_128 > 0.5 && at_128 < at_64));
}

TEST_CASE("selectors that look choose the most important blocks", "[numeric]") {
  for (const std::string score : {"softmax", "dot", "subblock", "oracle"}) {
    for (const bool per_head : {false, true}) {
      DYNAMIC_SECTION(score << (per_head ? " head" : " group")) {
        Case plain(setting_of(score, per_head));
        require_expected(plain);
        Case forced(setting_of(score, per_head));
        forced.setting.selector.force_first = true;
        forced.setting.selector.nearest = 2;
        require_expected(forced);
        if (score == "dot") continue;  // its scores are no shares
        for (const double share : {0.3, 0.8}) {
          CAPTURE(share);
          Case some(setting_of(score, per_head, 6));
          some.setting.selector.top_p = share;
          require_expected(some);
          some.setting.selector.nearest = 1;
          require_expected(some);
        }
      }
    }
  }
}

TEST_CASE("a window has the nearest blocks, strides what is so many apart", "[numeric]") {
  for (const bool per_head : {false, true}) {
    const Case window(setting_of("window", per_head)), strided(setting_of("strided", per_head));
    const at::Tensor near = window.chosen(), apart = strided.chosen();
    for (std::int64_t t = 0; t < kTokens; ++t) {
      const std::int64_t own = t / 4;
      std::set<std::int64_t> nearest;
      for (std::int64_t i = 0; i < 4 && own - i >= 0; ++i) nearest.insert(own - i);
      std::vector<std::int64_t> order;  // strides first, then all, the nearest first
      for (std::int64_t i = 3; own - i >= 0; i += 3) order.push_back(own - i);
      for (std::int64_t i = 1; own - i >= 0; ++i) {
        if (i % 3 != 0) order.push_back(own - i);
      }
      std::set<std::int64_t> strides = {own};
      for (const std::int64_t each : order) {
        if (strides.size() < 4) strides.insert(each);
      }
      for (std::int64_t list = 0; list < window.lists(); ++list) {
        CAPTURE(t, list);
        CHECK(window.of(near, 1, 1, list, t) == nearest);
        CHECK(strided.of(apart, 0, 1, list, t) == strides);
      }
    }
  }
}

TEST_CASE("random blocks are a run's and a layer's own, and the same at every pass and length",
          "[numeric]") {
  for (const bool per_head : {false, true}) {
    const AttentionSetting setting = setting_of("random", per_head);
    const Case each(setting);
    const at::Tensor chosen = each.chosen();
    CHECK(torch::equal(chosen.select(1, 0), chosen.select(1, 1)));  // whatever the example
    CHECK_FALSE(torch::equal(chosen[0], chosen[1]));                // each run its own
    CHECK(torch::equal(chosen, Case(setting).chosen()));
    AttentionSetting other = setting;
    other.keys = torch::tensor({std::int64_t{18}, std::int64_t{23}});
    CHECK_FALSE(torch::equal(chosen[0], Case(other).chosen()[0]));
    CHECK(torch::equal(chosen[1], Case(other).chosen()[1]));
    const at::Tensor shorter = Case(setting, 24).chosen();
    CHECK(torch::equal(shorter, chosen.slice(3, 0, 24).slice(4, 0, 6)));
    // Four of as many as there are, and every earlier block now and then.
    const at::Tensor counts = chosen.sum(-1);
    for (std::int64_t t = 0; t < kTokens; ++t) {
      CHECK(counts.select(-1, t).eq(std::min<std::int64_t>(4, t / 4 + 1)).all().item<bool>());
    }
    CHECK(chosen.any(3).any(0).any(0).any(0).all().item<bool>());
  }
}

}  // namespace tandem::test::nn_selectors_numeric
