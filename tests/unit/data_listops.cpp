// Nested lists against an evaluator of its own, which reads them as text; the law that they are
// drawn by, lengths and depths, that no expression is in two splits, and what is refused.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "core/error.h"
#include "data/data_facts.h"
#include "data/dataset.h"

namespace tandem::test::data_listops_unit {
namespace {

using Catch::Matchers::Contains;
using Tokens = std::vector<std::int64_t>;

std::shared_ptr<const Dataset> load(Settings more) {
  more["data"] = "listops";
  more["model"] = "transformer";
  return load_dataset(Config::resolve(more));
}

Tokens row(const at::Tensor& rows, std::int64_t i) {
  const at::Tensor own = rows[i].to(at::kLong).contiguous();
  const auto* begin = own.const_data_ptr<std::int64_t>();
  return {begin, begin + own.numel()};
}

std::string text_of(const Tokens& tokens) {
  const char* const words[] = {"0", "1",    "2",    "3",    "4",   "5", "6", "7", "8",
                               "9", "[MAX", "[MIN", "[MED", "[SM", "]", "=", "."};
  std::string text;
  for (const std::int64_t each : tokens) text += std::string(words[each]) + " ";
  return text;
}

struct Read {
  int value = 0;
  int levels = 1;  // a digit's is one
  std::vector<std::string> operators = {};
  std::vector<std::size_t> arguments = {};       // of each operator
  std::vector<std::pair<int, bool>> inner = {};  // level of each argument, and whether it is one
  std::vector<int> digits = {};
};

// Reads one expression from the text's front.
Read read(std::istringstream& in, int level) {
  std::string word;
  REQUIRE(in >> word);
  Read all;
  if (word.front() != '[') {
    REQUIRE(word.size() == 1);
    all.value = word.front() - '0';
    REQUIRE((all.value >= 0 && all.value <= 9));
    all.digits = {all.value};
    return all;
  }
  std::vector<int> values;
  all.operators = {word};
  while ((in >> std::ws).peek() != ']') {
    const bool is_list = in.peek() == '[';
    const Read one = read(in, level + 1);
    values.push_back(one.value);
    all.levels = std::max(all.levels, one.levels);
    all.inner.emplace_back(level + 1, is_list);
    all.inner.insert(all.inner.end(), one.inner.begin(), one.inner.end());
    all.operators.insert(all.operators.end(), one.operators.begin(), one.operators.end());
    all.arguments.insert(all.arguments.end(), one.arguments.begin(), one.arguments.end());
    all.digits.insert(all.digits.end(), one.digits.begin(), one.digits.end());
  }
  in >> word;
  all.arguments.push_back(values.size());
  ++all.levels;
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  REQUIRE(n >= 2);
  const std::string kind = all.operators.front();
  if (kind == "[MIN") {
    all.value = values.front();
  } else if (kind == "[MAX") {
    all.value = values.back();
  } else if (kind == "[SM") {
    for (const int each : values) all.value = (all.value + each) % 10;
  } else {
    REQUIRE(kind == "[MED");
    const double middle = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2.0;
    all.value = static_cast<int>(std::floor(middle));
  }
  return all;
}

// The expression of a sequence, up to what asks.
std::string expression(const Dataset& data, std::int64_t i) {
  Tokens x = row(data.inputs, i);
  x.resize(static_cast<std::size_t>(row(data.asked, i)[0]));
  return text_of(x);
}

Read read_row(const Dataset& data, std::int64_t i) {
  std::istringstream in(expression(data, i));
  Read all = read(in, 1);
  std::string rest;
  REQUIRE_FALSE(in >> rest);
  return all;
}

// Each count within five standard deviations of an equal share.
void require_alike(const std::map<std::string, double>& counts, std::size_t kinds) {
  REQUIRE(counts.size() == kinds);
  double all = 0;
  for (const auto& [name, count] : counts) all += count;
  const double chance = 1 / static_cast<double>(kinds), expected = all * chance;
  for (const auto& [name, count] : counts) {
    CAPTURE(name, count, expected);
    CHECK(std::abs(count - expected) <= 5 * std::sqrt(expected * (1 - chance)));
  }
}

}  // namespace

TEST_CASE("the answer is the expression's value, which is asked right behind it", "[unit]") {
  struct Case {
    Settings said;
    std::size_t shortest, longest;
    int levels;
    std::size_t arguments;
  };
  const std::vector<Case> cases = {
      {{{"context", "100"}}, 24, 99, 10, 10},
      {{{"context", "64"}, {"listops_min_length", "50"}}, 50, 63, 10, 10},
      {{{"context", "40"}, {"listops_max_length", "22"}, {"listops_depth", "3"}}, 5, 22, 3, 10},
      {{{"context", "40"},
        {"listops_arguments", "3"},
        {"listops_min_length", "4"},
        {"listops_max_length", "20"}},
       4,
       20,
       10,
       3}};
  for (const Case& each : cases) {
    Settings said = each.said;
    said["train_sequences"] = "400";
    said["validation_sequences"] = "40";
    said["test_sequences"] = "30";
    const auto data = load(said);
    CHECK(data->classes == 17);
    CHECK_FALSE(data->sources.defined());
    REQUIRE(data->asked.sizes() == at::IntArrayRef({470, 1}));
    std::size_t longest = 0, shortest = 1000, arguments = 0;
    int levels = 0;
    for (std::int64_t i = 0; i < 470; ++i) {
      const Tokens x = row(data->inputs, i);
      const auto end = static_cast<std::size_t>(row(data->asked, i)[0]);
      CAPTURE(text_of(x));
      REQUIRE(end < x.size());
      REQUIRE(x[end] == 15);
      for (std::size_t t = end + 1; t < x.size(); ++t) REQUIRE(x[t] == 16);
      const Read found = read_row(*data, i);
      REQUIRE(row(data->answers, i)[0] == found.value);
      REQUIRE(x[0] >= 10);  // the outermost is an operator
      shortest = std::min(shortest, end);
      longest = std::max(longest, end);
      levels = std::max(levels, found.levels);
      arguments =
          std::max(arguments, *std::max_element(found.arguments.begin(), found.arguments.end()));
    }
    CAPTURE(shortest, longest, levels, arguments);
    CHECK(shortest >= each.shortest);
    CHECK(longest <= each.longest);
    CHECK(levels <= each.levels);
    CHECK(levels >= 3);
    CHECK(arguments <= each.arguments);
    CHECK(arguments >= 3);
  }
}

TEST_CASE("operators, arguments and digits are drawn alike", "[unit]") {
  // Three levels of at most three arguments: 17 tokens at most, so that no length is refused.
  const auto data = load({{"context", "18"},
                          {"listops_depth", "3"},
                          {"listops_arguments", "3"},
                          {"listops_min_length", "1"},
                          {"train_sequences", "20000"}});
  std::map<std::string, double> operators, arguments, digits;
  double lists = 0, places = 0;
  for (const std::int64_t i : data->train) {
    const Read found = read_row(*data, i);
    for (const std::string& each : found.operators) ++operators[each];
    for (const std::size_t each : found.arguments) ++arguments[std::to_string(each)];
    for (const int each : found.digits) ++digits[std::to_string(each)];
    for (const auto& [level, is_list] : found.inner) {
      REQUIRE((level == 2 || (level == 3 && !is_list)));
      if (level != 2) continue;
      ++places;
      lists += is_list ? 1 : 0;
    }
  }
  require_alike(operators, 4);
  require_alike(arguments, 2);
  require_alike(digits, 10);
  CHECK(std::abs(lists - places / 4) <= 5 * std::sqrt(places * 3 / 16));
}

TEST_CASE("no expression is in two splits, whatever the seeds", "[unit]") {
  // Of an operator on two digits there are 400, so that every one turns up.
  std::map<std::string, std::set<std::string>> splits;
  for (const std::string seed : {"0", "1", "2"}) {
    const auto data = load({{"context", "5"},
                            {"listops_depth", "2"},
                            {"listops_arguments", "2"},
                            {"train_sequences", "4000"},
                            {"validation_sequences", "1000"},
                            {"test_sequences", "1000"},
                            {"generator_seed", seed}});
    for (const std::int64_t i : data->train) splits[expression(*data, i)].insert("train");
    for (const std::int64_t i : data->validation) splits[expression(*data, i)].insert("validation");
    for (const std::int64_t i : data->test) splits[expression(*data, i)].insert("test");
  }
  CHECK(splits.size() == 400);
  std::map<std::string, int> sizes;
  for (const auto& [text, own] : splits) {
    CAPTURE(text);
    REQUIRE(own.size() == 1);
    ++sizes[*own.begin()];
  }
  CHECK(sizes["train"] > 260);
  CHECK(sizes["validation"] > 25);
  CHECK(sizes["test"] > 25);
}

TEST_CASE("a longer split begins as a shorter one, and expressions are what they were", "[unit]") {
  const Settings small = {{"context", "12"},
                          {"listops_max_length", "9"},
                          {"train_sequences", "30"},
                          {"validation_sequences", "5"},
                          {"test_sequences", "5"}};
  const auto data = load(small);
  Settings more = small;
  more["train_sequences"] = "50";
  CHECK(at::equal(load(more)->inputs.narrow(0, 0, 30), data->inputs.narrow(0, 0, 30)));
  more["generator_seed"] = "3";
  CHECK_FALSE(at::equal(load(more)->inputs.narrow(0, 0, 30), data->inputs.narrow(0, 0, 30)));
  // Pinned: another order of draws, or another split by hash, is another data set.
  CHECK(expression(*data, 0) == "[MIN 5 6 8 6 1 ] ");
  CHECK(expression(*data, 30) == "[MIN 2 4 ] ");
  CHECK(expression(*data, 35) == "[MAX 4 2 1 5 ] ");
}

TEST_CASE("lengths that can't be, or hardly, are refused", "[unit]") {
  const auto refused = [](const Settings& said, const std::string& why) {
    CAPTURE(said);
    CHECK_THROWS_AS(load(said), ConfigError);
    CHECK_THROWS_WITH(load(said), Contains(why));
  };
  refused({{"context", "40"}, {"listops_max_length", "40"}}, "to 39, one less than context = 40");
  refused({{"context", "4"}}, "from 4 tokens");
  refused({{"context", "40"}, {"listops_min_length", "40"}}, "more than the 39 tokens");
  refused({{"context", "200"}, {"listops_arguments", "2"}}, "too few to draw from");
  refused({{"context", "200"}, {"listops_depth", "2"}}, "give a smaller listops_min_length");
  refused({{"vocabulary", "17"}}, "vocabulary");
  refused({{"pairs", "5"}}, "pairs");
  CHECK(seen_data(Config::resolve({{"data", "listops"}, {"model", "transformer"}})).classes == 17);
}

}  // namespace tandem::test::data_listops_unit
