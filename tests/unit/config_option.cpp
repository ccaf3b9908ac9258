// Options: canonical text, ranges, choices, the table.
#include <catch2/catch.hpp>
#include <set>

#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "support/config_fixture.h"

namespace tandem::test::config_option_unit {

using Catch::Matchers::Contains;

namespace {

Option typed(OptionType type) {
  Option made;
  made.name = "x";
  made.type = type;
  made.help = "a test's option";
  return made;
}

std::string canonical(OptionType type, const std::string& text) {
  return canonical_value(typed(type), text);
}

}  // namespace

TEST_CASE("values have one canonical text", "[unit]") {
  CHECK(canonical(OptionType::kInt, " 007 ") == "7");
  CHECK(canonical(OptionType::kInt, "-0") == "0");
  CHECK(canonical(OptionType::kReal, "0.10") == "0.1");
  CHECK(canonical(OptionType::kReal, "1e-1") == "0.1");
  CHECK(canonical(OptionType::kReal, "5e-4") == canonical(OptionType::kReal, "0.0005"));
  CHECK(canonical(OptionType::kReal, "-0.0") == "0");
  CHECK(canonical(OptionType::kReal, "3") == "3");
  for (const char* yes : {"true", "yes", "on", "1"})
    CHECK(canonical(OptionType::kFlag, yes) == "true");
  for (const char* no : {"false", "no", "off", "0"})
    CHECK(canonical(OptionType::kFlag, no) == "false");
  CHECK(canonical(OptionType::kIntList, "400, 0400") == "400,400");
  CHECK(canonical(OptionType::kIntList, "").empty());
  CHECK(canonical(OptionType::kRealList, ".5,0.750") == "0.5,0.75");
  CHECK(canonical(OptionType::kText, "  a b ") == "a b");
}

TEST_CASE("values of the wrong type are refused with name, text and expectation", "[unit]") {
  for (const char* bad : {"", "1.5", "x", "1 2", "1e3"}) {
    CHECK_THROWS_AS(canonical(OptionType::kInt, bad), ConfigError);
  }
  for (const char* bad : {"", "x", "nan", "inf", "0,1"}) {
    CHECK_THROWS_AS(canonical(OptionType::kReal, bad), ConfigError);
  }
  CHECK_THROWS_AS(canonical(OptionType::kFlag, "maybe"), ConfigError);
  CHECK_THROWS_AS(canonical(OptionType::kIntList, "1,,2"), ConfigError);
  CHECK_THROWS_AS(canonical(OptionType::kText, "a\nb"), ConfigError);
  CHECK_THROWS_WITH(canonical(OptionType::kInt, "1.5"),
                    Contains("'x'") && Contains("'1.5'") && Contains("an integer"));
}

TEST_CASE("ranges hold at both ends and for items of lists", "[unit]") {
  Option real = typed(OptionType::kReal);
  real.minimum = 0;
  real.maximum = 1;
  CHECK(canonical_value(real, "0") == "0");
  CHECK(canonical_value(real, "1") == "1");
  CHECK_THROWS_WITH(canonical_value(real, "1.01"), Contains("0..1"));
  CHECK_THROWS_AS(canonical_value(real, "-0.01"), ConfigError);
  Option list = typed(OptionType::kIntList);
  list.minimum = 1;
  CHECK(canonical_value(list, "1,2") == "1,2");
  CHECK_THROWS_WITH(canonical_value(list, "1,0"), Contains(">= 1"));
}

TEST_CASE("choices come from the option or from the parts of its kind", "[unit]") {
  Option choice = typed(OptionType::kChoice);
  choice.choices = {"step", "cosine"};
  CHECK(canonical_value(choice, "step") == "step");
  CHECK_THROWS_WITH(canonical_value(choice, "cosin"),
                    Contains("did you mean cosine?") && Contains("All: cosine, step"));
  const PartTable parts = test::fixture_parts();
  const Option& weights = option("weights");
  CHECK(canonical_value(weights, "rigl", parts) == "rigl");
  CHECK_THROWS_WITH(canonical_value(weights, "rigll", parts),
                    Contains("option 'weights'") && Contains("did you mean rigl?"));
  CHECK(describe_domain(weights, parts) == "one of dense | rigl | set | ssa | static");
}

TEST_CASE("a list of integers may stand in the place of a choice where the option says so",
          "[unit]") {
  Option order = typed(OptionType::kChoice);
  order.choices = {"natural", "random"};
  CHECK_THROWS_AS(canonical_value(order, "1,0"), ConfigError);
  order.or_list = true;
  order.minimum = 0;
  CHECK(canonical_value(order, "random") == "random");
  CHECK(canonical_value(order, " 03, 1,2,0 ") == "3,1,2,0");
  CHECK(canonical_value(order, "0") == "0");
  CHECK_THROWS_WITH(canonical_value(order, "randm"),
                    Contains("did you mean random?") && Contains("Or give a list of integers."));
  CHECK_THROWS_WITH(canonical_value(order, "1,-1"), Contains("an integer >= 0"));
  CHECK_THROWS_WITH(canonical_value(order, "1,two"), Contains("expected an integer"));
  CHECK(describe_domain(order, test::fixture_parts()) ==
        "one of natural | random, or a list of ints >= 0");
  // As in a grid file, where braces make one value of it.
  CHECK(option("class_order").or_list);
}

TEST_CASE("an unknown option names the nearest", "[unit]") {
  CHECK_THROWS_WITH(option("weigth_decay"),
                    Contains("unknown option 'weigth_decay'") && Contains("weight_decay"));
  CHECK(find_option("nothing") == nullptr);
  CHECK(find_option("lr") == &option("lr"));
}

TEST_CASE("a table refuses doubled, malformed and contradictory declarations", "[unit]") {
  OptionTable table;
  Option good = typed(OptionType::kInt);
  good.default_value = "08";
  good.neutral = "-1";
  good.minimum = 0;
  table.declare(good);
  CHECK(table.at("x").default_value == "8");
  CHECK_THROWS_AS(table.declare(good), std::logic_error);
  CHECK_THROWS_WITH(table.declare(good), Contains("'x' is declared twice"));
  for (const char* name : {"", "X", "a-b", "1a", "a.b"}) {
    Option bad = good;
    bad.name = name;
    CHECK_THROWS_AS(table.declare(bad), std::logic_error);
  }
  Option outside = good;
  outside.name = "y";
  outside.default_value = "-1";
  CHECK_THROWS_AS(table.declare(outside), std::logic_error);
  CHECK(table.all().size() == 1);
}

TEST_CASE("every engine option is whole: help, group, canonical default and neutral", "[unit]") {
  std::set<std::string> names;
  for (const auto& each : all_options()) {
    INFO(each.name);
    CHECK(names.insert(each.name).second);
    CHECK_FALSE(each.help.empty());
    CHECK(canonical_form(each, each.default_value) == each.default_value);
    CHECK(canonical_form(each, each.neutral) == each.neutral);
    if (each.type == OptionType::kChoice) CHECK((!each.choices.empty() || is_part_kind(each.name)));
    if (!each.choices.empty()) CHECK(each.type == OptionType::kChoice);  // others don't check them
  }
  for (const auto& kind : part_kinds()) CHECK(option(kind).neutral == "none");
}

TEST_CASE("parts: doubled names and unknown kinds are refused with both files", "[unit]") {
  PartTable parts;
  parts.declare({.kind = "weights", .name = "a", .summary = "s", .cite = "", .file = "one.cpp"});
  CHECK_THROWS_AS(parts.declare({.kind = "weights", .name = "a", .summary = "s", .cite = ""}),
                  std::logic_error);
  CHECK_THROWS_WITH(
      parts.declare(
          {.kind = "weights", .name = "a", .summary = "s", .cite = "", .file = "two.cpp"}),
      Contains("one.cpp") && Contains("two.cpp"));
  CHECK_NOTHROW(parts.declare({.kind = "attention", .name = "a", .summary = "s", .cite = ""}));
  CHECK_THROWS_AS(parts.declare({.kind = "wights", .name = "b", .summary = "s", .cite = ""}),
                  std::logic_error);
  CHECK_THROWS_AS(parts.at("weights", "b"), ConfigError);
  CHECK_THROWS_WITH(parts.at("model", "b"), Contains("there are none"));
}

TEST_CASE("parts of a kind are sorted by name", "[unit]") {
  const PartTable parts = test::fixture_parts();
  CHECK(parts.names_of("weights") ==
        std::vector<std::string>{"dense", "rigl", "set", "ssa", "static"});
  CHECK(parts.of("weights").front().name == "dense");
  CHECK(parts.of("weights").size() == 5);
}

}  // namespace tandem::test::config_option_unit
