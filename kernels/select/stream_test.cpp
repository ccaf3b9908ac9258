// TopStream against a stable sort, in blocks of any size and order.
#include "kernels/select/stream.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/spmm/spmm.h"

namespace tandem::test::stream_test {
namespace {

using Positions = std::vector<std::int64_t>;
using Flags = std::vector<std::uint8_t>;

struct BestTargetAgain {
  ~BestTargetAgain() { kernels::spmm_use_target(""); }
};

template <class T>
Positions reference(const std::vector<T>& scores, const std::uint8_t* eligible, std::int64_t k,
                    bool largest) {
  const std::vector<double> wide(scores.begin(), scores.end());
  Flags chosen(scores.size());
  REQUIRE(select_top_ref(wide.data(), eligible, static_cast<std::int64_t>(wide.size()), k, largest,
                         chosen.data()) == kSelectDone);
  Positions positions;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i] != 0) positions.push_back(static_cast<std::int64_t>(i));
  }
  return positions;
}

struct Block {
  std::int64_t start, size;
};
std::vector<Block> cut_into_blocks(std::int64_t n, std::int64_t longest, std::mt19937_64& random) {
  std::vector<Block> blocks;
  for (std::int64_t start = 0; start < n; start += blocks.back().size) {
    const auto size = 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(longest));
    blocks.push_back({start, std::min(size, n - start)});
  }
  return blocks;
}

template <class T>
Positions run(const std::vector<T>& scores, const std::uint8_t* eligible, std::int64_t k,
              bool largest, const std::vector<Block>& blocks) {
  TopStream<T> stream(k, largest);
  for (const auto& block : blocks) {
    REQUIRE(stream.add(block.start, scores.data() + block.start,
                       eligible ? eligible + block.start : nullptr, block.size) == kSelectDone);
  }
  Positions positions = {-1};
  REQUIRE(stream.finish(positions) == kSelectDone);
  return positions;
}

template <class T>
std::vector<T> scores_of_kind(int kind, std::int64_t n, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  const T special[] = {T(0), T(-0.0), nan, -nan, infinity, -infinity, T(1), T(-1)};
  std::vector<T> scores(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto rank = static_cast<T>(i);
    const T by_kind[] = {static_cast<T>(normal(random)),
                         static_cast<T>(static_cast<int>(random() % 3) - 1),
                         T(0.25),
                         rank,
                         -rank,
                         nan,
                         special[random() % 8]};
    scores[i] = by_kind[kind];
  }
  return scores;
}

}  // namespace

TEMPLATE_TEST_CASE("TopStream equals a stable sort", "[parity]", float, double) {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const BestTargetAgain again;
  const auto targets = kernels::spmm_targets();
  for (int kind = 0; kind < 7; ++kind) {
    for (const std::int64_t n : {1, 100, 20000}) {
      REQUIRE(kernels::spmm_use_target(targets[random() % targets.size()]));
      const auto scores = scores_of_kind<TestType>(kind, n, random);
      Flags eligible(scores.size());
      for (auto& e : eligible) e = random() % 4 == 0 ? 0 : static_cast<std::uint8_t>(random() | 1);
      const auto candidates =
          n - static_cast<std::int64_t>(std::count(eligible.begin(), eligible.end(), 0));
      for (const std::int64_t k :
           {std::int64_t{0}, std::int64_t{1}, n / 100, n * 3 / 8, n / 2, n}) {
        const bool largest = random() % 2 == 0;
        auto blocks = cut_into_blocks(n, random() % 2 == 0 ? 10 : 5000, random);
        CAPTURE(kind, n, k, largest);
        CHECK(run(scores, nullptr, k, largest, blocks) == reference(scores, nullptr, k, largest));
        std::shuffle(blocks.begin(), blocks.end(), random);
        CHECK(run(scores, nullptr, k, largest, blocks) == reference(scores, nullptr, k, largest));
        const auto few = std::min(k, candidates);
        CHECK(run(scores, eligible.data(), few, largest, blocks) ==
              reference(scores, eligible.data(), few, largest));
      }
    }
  }
}

TEMPLATE_TEST_CASE("TopStream of many, on every instruction set", "[parity]", float, double) {
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::int64_t n = 60000 + static_cast<std::int64_t>(random() % 1000);
  for (const std::string& target : kernels::spmm_targets()) {
    REQUIRE(kernels::spmm_use_target(target));
    for (const int kind : {0, 1, 6}) {
      const auto scores = scores_of_kind<TestType>(kind, n, random);
      const auto blocks = cut_into_blocks(n, 9000, random);
      for (const std::int64_t k : {n / 300, n / 30, n / 3}) {
        for (const bool largest : {true, false}) {
          CAPTURE(target, kind, k, largest);
          CHECK(run(scores, nullptr, k, largest, blocks) == reference(scores, nullptr, k, largest));
        }
      }
    }
  }
}

TEST_CASE("TopStream: too few, bad arguments and use after finish", "[parity]") {
  const std::vector<float> scores = {3, 1, 2};
  const Flags eligible = {1, 0, 1};
  TopStream<float> stream(3, true);
  Positions positions = {7};
  REQUIRE(stream.add(10, scores.data(), eligible.data(), 3) == kSelectDone);
  CHECK(stream.finish(positions) == kSelectTooFew);
  CHECK(positions == Positions{7});
  CHECK(stream.add(20, nullptr, nullptr, 3) == kSelectBadArguments);
  CHECK(stream.add(20, scores.data(), nullptr, -1) == kSelectBadArguments);
  CHECK(stream.add(-1, scores.data(), nullptr, 3) == kSelectBadArguments);
  CHECK(stream.add(20, nullptr, nullptr, 0) == kSelectDone);
  REQUIRE(stream.add(0, scores.data(), nullptr, 3) == kSelectDone);
  REQUIRE(stream.finish(positions) == kSelectDone);
  CHECK(positions == Positions{0, 2, 10});

  CHECK(stream.finish(positions) == kSelectTooFew);
  REQUIRE(stream.add(0, scores.data(), nullptr, 3) == kSelectDone);
  REQUIRE(stream.finish(positions) == kSelectDone);
  CHECK(positions == Positions{0, 1, 2});

  TopStream<float> negative(-1, true);
  CHECK(negative.add(0, scores.data(), nullptr, 3) == kSelectBadArguments);
  CHECK(negative.finish(positions) == kSelectBadArguments);
}

}  // namespace tandem::test::stream_test
