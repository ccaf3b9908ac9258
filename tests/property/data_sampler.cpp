// Orders of examples: permutations, pure in (key, task, step), spread evenly.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/philox.h"
#include "data/sampler.h"

namespace tandem::test::data_sampler_property {
namespace {

std::vector<std::int64_t> epoch_of(EpochSampler& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> seen;
  for (std::int64_t i = 0; i < sampler.steps_per_epoch(); ++i) {
    for (const auto each : sampler.batch(epoch * sampler.steps_per_epoch() + i)) {
      seen.push_back(each);
    }
  }
  return seen;
}

// 40 (n, batch) pairs from a seed that the test prints when it fails.
std::vector<std::pair<std::int64_t, std::int64_t>> shapes(std::uint64_t seed) {
  const RandomStream draws{stream_key(seed, "shapes")};
  std::vector<std::pair<std::int64_t, std::int64_t>> list = {{1, 1}, {1, 7}, {5, 5}, {6, 5}};
  for (std::uint64_t i = 0; i < 36; ++i) {
    list.emplace_back(1 + draws.below(2 * i, 300), 1 + draws.below(2 * i + 1, 64));
  }
  return list;
}

}  // namespace

TEST_CASE("every epoch of a sampler is a permutation in whole batches but the last", "[property]") {
  const std::uint64_t seed = 20240607;
  INFO("seed " << seed);
  for (const auto& [n, batch] : shapes(seed)) {
    INFO("n " << n << ", batch " << batch);
    EpochSampler sampler(stream_key(seed, "data"), 1, n, batch);
    for (const std::int64_t epoch : {0, 1, 5}) {
      auto seen = epoch_of(sampler, epoch);
      std::sort(seen.begin(), seen.end());
      std::vector<std::int64_t> all(n);
      std::iota(all.begin(), all.end(), 0);
      CHECK(seen == all);
    }
    for (std::int64_t step = 0; step + 1 < sampler.steps_per_epoch(); ++step) {
      CHECK(static_cast<std::int64_t>(sampler.batch(step).size()) == batch);
    }
    const auto last = sampler.batch(sampler.steps_per_epoch() - 1).size();
    CHECK(static_cast<std::int64_t>(last) == (n - 1) % batch + 1);
  }
}

TEST_CASE("without what is left over an epoch has whole batches, and the same examples in them",
          "[property]") {
  const std::uint64_t seed = 20261130;
  INFO("seed " << seed);
  for (const auto& [n, batch] : shapes(seed)) {
    INFO("n " << n << ", batch " << batch);
    EpochSampler all(stream_key(seed, "data"), 1, n, batch);
    EpochSampler whole(stream_key(seed, "data"), 1, n, batch, /*drop_last=*/true);
    if (n < batch) {
      CHECK(whole.steps_per_epoch() == 1);
      CHECK(whole.batch(0) == all.batch(0));
      continue;
    }
    REQUIRE(whole.steps_per_epoch() == n / batch);
    for (const std::int64_t epoch : {0, 3}) {
      for (std::int64_t i = 0; i < n / batch; ++i) {
        const auto own = whole.batch(epoch * whole.steps_per_epoch() + i);
        CHECK(static_cast<std::int64_t>(own.size()) == batch);
        CHECK(own == all.batch(epoch * all.steps_per_epoch() + i));
      }
    }
  }
}

TEST_CASE("a batch doesn't depend on the order in which steps are asked for", "[property]") {
  const std::uint64_t key = stream_key(3, "data");
  EpochSampler forward(key, 2, 103, 10), backward(key, 2, 103, 10);
  std::vector<std::vector<std::int64_t>> batches;
  for (std::int64_t step = 0; step < 50; ++step) batches.push_back(forward.batch(step));
  for (std::int64_t step = 49; step >= 0; --step) CHECK(backward.batch(step) == batches[step]);
  CHECK(EpochSampler(key, 2, 103, 10).batch(37) == batches[37]);
  const ByteSampler bytes(key, 1, WindowStarts({0, 1000}, 8), 4);
  const auto late = bytes.batch(7);
  bytes.batch(3);
  CHECK(bytes.batch(7) == late);
}

TEST_CASE("examples that come in order are cut into consecutive batches", "[property]") {
  for (const bool drop_last : {false, true}) {
    EpochSampler sampler(stream_key(3, "data"), 0, 23, 5, drop_last, /*in_order=*/true);
    REQUIRE(sampler.steps_per_epoch() == (drop_last ? 4 : 5));
    for (std::int64_t step = 0; step < 2 * sampler.steps_per_epoch(); ++step) {
      const std::int64_t first = step % sampler.steps_per_epoch() * 5;
      std::vector<std::int64_t> expected;
      for (std::int64_t i = first; i < std::min<std::int64_t>(first + 5, 23); ++i) {
        expected.push_back(i);
      }
      CHECK(sampler.batch(step) == expected);
    }
  }
}

TEST_CASE("seeds, tasks and epochs have orders of their own", "[property]") {
  const auto order = [](std::uint64_t seed, std::int64_t task, std::int64_t epoch) {
    EpochSampler sampler(stream_key(seed, "data"), task, 200, 16);
    return epoch_of(sampler, epoch);
  };
  CHECK(order(1, 1, 0) == order(1, 1, 0));
  CHECK(order(1, 1, 0) != order(2, 1, 0));
  CHECK(order(1, 1, 0) != order(1, 2, 0));
  CHECK(order(1, 1, 0) != order(1, 1, 1));
  const std::uint64_t one = stream_key(1, "data"), two = stream_key(2, "data");
  const WindowStarts of_999({0, 999}, 8);
  CHECK(ByteSampler(one, 1, of_999, 16).batch(0) != ByteSampler(two, 1, of_999, 16).batch(0));
  CHECK(ByteSampler(one, 1, of_999, 16).batch(0) != ByteSampler(one, 2, of_999, 16).batch(0));
  CHECK(ByteSampler(one, 1, of_999, 16).batch(0) != ByteSampler(one, 1, of_999, 16).batch(1));
}

TEST_CASE("every place of a permutation is as likely for every item", "[property]") {
  constexpr int kItems = 6, kTrials = 6000;
  double counts[kItems][kItems] = {};
  for (std::uint64_t trial = 0; trial < kTrials; ++trial) {
    const auto order = permutation(stream_key(trial, "uniform"), kItems);
    for (int place = 0; place < kItems; ++place) ++counts[place][order[place]];
  }
  double chi_square = 0;
  const double expected = 1.0 * kTrials / kItems;
  for (const auto& row : counts) {
    for (const double count : row) chi_square += (count - expected) * (count - expected) / expected;
  }
  CHECK(chi_square < 60);  // 25 degrees of freedom: 99.99% lie below 59
  CHECK(chi_square > 5);
}

TEST_CASE("window starts fill their range and stay within it", "[property]") {
  const std::int64_t begin = 100, end = 131, context = 10, batch = 8;
  const ByteSampler sampler(stream_key(5, "data"), 1, WindowStarts({begin, end}, context), batch);
  std::vector<int> hits(end - begin, 0);
  for (std::int64_t step = 0; step < 200; ++step) {
    const auto starts = sampler.batch(step);
    REQUIRE(static_cast<std::int64_t>(starts.size()) == batch);
    for (const auto start : starts) {
      REQUIRE(start >= begin);
      REQUIRE(start + context + 1 <= end);
      ++hits[start - begin];
    }
  }
  for (std::int64_t i = 0; i < end - begin - context; ++i) CHECK(hits[i] > 30);
  CHECK(WindowStarts({begin, end}, context).windows() == 4);
  CHECK(ByteSampler(1, 1, WindowStarts({0, 11}, 10), 1).batch(0) == std::vector<std::int64_t>{0});
  CHECK_THROWS_AS(WindowStarts({0, 10}, 10), ConfigError);
}

TEST_CASE("windows lie within one of several ranges, each start as likely", "[property]") {
  const std::vector<std::int64_t> edges = {10, 23, 40, 45, 100, 131};
  const std::int64_t context = 4;
  const WindowStarts starts(edges, context);
  std::vector<std::int64_t> expected;  // every place whose window ends within its range
  for (std::int64_t at = 0; at < 200; ++at) {
    for (std::size_t e = 0; e < edges.size(); e += 2) {
      if (at >= edges[e] && at + context < edges[e + 1]) expected.push_back(at);
    }
  }
  REQUIRE(starts.count() == static_cast<std::int64_t>(expected.size()));
  for (std::int64_t i = 0; i < starts.count(); ++i) {
    CHECK(starts.at(i) == expected[static_cast<std::size_t>(i)]);
  }
  CHECK(starts.windows() == 13);  // of 49 bytes
  CHECK(starts.side_by_side() ==
        std::vector<std::int64_t>{10, 14, 18, 40, 100, 104, 108, 112, 116, 120, 124});
  const ByteSampler sampler(stream_key(6, "data"), 1, starts, 8);
  std::map<std::int64_t, int> hits;
  for (std::int64_t step = 0; step < 460; ++step) {
    for (const std::int64_t start : sampler.batch(step)) ++hits[start];
  }
  CHECK(hits.size() == expected.size());
  for (const std::int64_t start : expected) CHECK(hits[start] > 50);  // of 100, within 5 deviations
  CHECK_THROWS_WITH(WindowStarts({0, 20, 20, 24}, 4), Catch::Contains("part 2 has 4"));
}

}  // namespace tandem::test::data_sampler_property
