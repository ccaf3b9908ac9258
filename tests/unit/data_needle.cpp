// A key to be copied, read off token by token; where it lies, what is around it, what is refused.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "core/error.h"
#include "data/dataset.h"

namespace tandem::test::data_needle_unit {
namespace {

using Catch::Matchers::Contains;
using Tokens = std::vector<std::int64_t>;

std::shared_ptr<const Dataset> load(Settings more) {
  more["data"] = "needle";
  more["model"] = "transformer";
  return load_dataset(Config::resolve(more));
}

Tokens row(const at::Tensor& rows, std::int64_t i) {
  const at::Tensor own = rows[i].to(at::kLong).contiguous();
  const auto* begin = own.const_data_ptr<std::int64_t>();
  return {begin, begin + own.numel()};
}

}  // namespace

TEST_CASE("every token of the key is asked once, behind the marker", "[unit]") {
  for (const std::string depth : {"0", "0.4", "1", "-1"}) {
    for (const std::int64_t length : {1, 8}) {
      const auto data = load({{"context", "60"},
                              {"vocabulary", "12"},
                              {"key_length", std::to_string(length)},
                              {"depth", depth},
                              {"train_sequences", "200"},
                              {"validation_sequences", "20"}});
      CHECK(data->classes == 12);
      REQUIRE(data->asked.sizes() == at::IntArrayRef({1220, length}));
      for (std::int64_t i = 0; i < 220; ++i) {
        const Tokens x = row(data->inputs, i), answers = row(data->answers, i);
        CAPTURE(depth, length, x, answers);
        // The marker stands twice, as no filler is one.
        const auto first = std::find(x.begin(), x.end(), 1),
                   second = std::find(first + 1, x.end(), 1);
        REQUIRE(second != x.end());
        REQUIRE(std::count(x.begin(), x.end(), 1) == 2);
        const std::int64_t begin = first - x.begin(), ask = second - x.begin();
        REQUIRE(ask == 60 - length);
        for (std::int64_t k = 0; k < length; ++k) {
          const auto at = static_cast<std::size_t>(k);
          REQUIRE((answers[at] >= 2 && answers[at] < 12));
          REQUIRE(answers[at] == x[static_cast<std::size_t>(begin + 1 + k)]);
          REQUIRE(row(data->asked, i)[at] == ask + k);
          REQUIRE(row(data->sources, i)[at] == begin + 1 + k);
          if (k > 0) REQUIRE(x[static_cast<std::size_t>(ask + k)] == answers[at - 1]);
        }
      }
    }
  }
}

TEST_CASE("a key lies at its depth, or anywhere alike", "[unit]") {
  // 16 tokens, a key of 3: it begins at 0 to 9.
  const auto begins = [](const std::string& depth, const std::string& sequences) {
    const auto data = load(
        {{"context", "16"}, {"key_length", "3"}, {"depth", depth}, {"train_sequences", sequences}});
    std::vector<double> counts(10, 0);
    for (const std::int64_t i : data->train) {
      const Tokens x = row(data->inputs, i);
      ++counts.at(static_cast<std::size_t>(std::find(x.begin(), x.end(), 1) - x.begin()));
    }
    return counts;
  };
  CHECK(begins("0", "50")[0] == 50);
  CHECK(begins("0.5", "50")[5] == 50);
  CHECK(begins("1", "50")[9] == 50);
  for (const double count : begins("-1", "8000")) {
    CHECK(std::abs(count - 800) < 5 * std::sqrt(800 * 0.9));
  }
}

TEST_CASE("the haystack is of any tokens but the marker, of all, or of none", "[unit]") {
  const auto seen = [](const std::string& filler) {
    const auto data = load({{"context", "64"},
                            {"vocabulary", "9"},
                            {"key_length", "2"},
                            {"filler", filler},
                            {"train_sequences", "60"}});
    std::set<std::int64_t> tokens;
    for (const std::int64_t i : data->train) {
      const Tokens x = row(data->inputs, i);
      tokens.insert(x.begin() + 3, x.end() - 2);
    }
    return tokens;
  };
  CHECK(seen("unbound") == std::set<std::int64_t>{0, 2, 3, 4, 5, 6, 7, 8});
  CHECK(seen("any") == std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(seen("none") == std::set<std::int64_t>{0});
}

TEST_CASE("splits of keys are apart, and a seed says all of them", "[unit]") {
  const Settings small = {{"context", "32"},
                          {"train_sequences", "400"},
                          {"validation_sequences", "300"},
                          {"test_sequences", "200"}};
  const auto data = load(small);
  std::set<Tokens> all;
  for (std::int64_t i = 0; i < 900; ++i) all.insert(row(data->inputs, i));
  CHECK(all.size() == 900);
  Settings other = small;
  other["generator_seed"] = "1";
  const auto more = load(other);
  for (std::int64_t i = 0; i < 900; ++i) CHECK(all.count(row(more->inputs, i)) == 0);
  other = small;
  other["seed"] = "5";
  CHECK(load(other) == data);
  // Pinned: another order of draws is another data set.
  CHECK(row(data->answers, 0) == Tokens{58, 59, 62, 54, 44, 47, 50, 58});
}

TEST_CASE("a key that has no room is refused with what would do", "[unit]") {
  CHECK_THROWS_WITH(load({{"context", "16"}}), Contains("give a context of 17 or more"));
  CHECK_NOTHROW(load({{"context", "17"}, {"train_sequences", "9"}}));
  CHECK_THROWS_WITH(load({{"pairs", "2"}}), Contains("pairs"));
  CHECK_THROWS_WITH(load({{"key_length", "0"}}), Contains("key_length"));
}

}  // namespace tandem::test::data_needle_unit
