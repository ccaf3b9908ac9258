// Numbers to and from text, nearest names, lists.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/text.h"

namespace tandem::test::core_text_unit {

using Catch::Matchers::Contains;
using Names = std::vector<std::string>;

TEST_CASE("edit_distance counts insertions, deletions and replacements", "[unit]") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("flaw", "lawn") == 2);
  CHECK(edit_distance("rigl", "rigl") == 0);
}

TEST_CASE("nearest_names orders by distance and leaves strangers out", "[unit]") {
  const Names all = {"weight_decay", "weights", "width", "density", "drop_fraction"};
  CHECK(nearest_names("weigths", all) == Names{"weights"});
  CHECK(nearest_names("decay", all) == Names{"weight_decay"});
  const Names others = {"eval_batch", "batches", "match"};
  CHECK(nearest_names("batch", others) == Names{"match", "batches", "eval_batch"});
  CHECK(nearest_names("lca", {"aaa", "acc", "aia", "lca_10"}, 1) == Names{"lca_10"});
  CHECK(nearest_names("zzzzzz", all).empty());
  CHECK(nearest_names("batch", others, 1) == Names{"match"});
}

TEST_CASE("did_you_mean names the nearest and all, or how to list them", "[unit]") {
  CHECK(did_you_mean("method", "rigll", {"set", "rigl"}) ==
        "unknown method 'rigll'; did you mean rigl? All: rigl, set");
  CHECK(did_you_mean("method", "zzzzzz", {"set", "rigl"}) ==
        "unknown method 'zzzzzz'. All: rigl, set");
  CHECK(did_you_mean("method", "rigl", {}) == "unknown method 'rigl'; there are none");
  CHECK(did_you_mean("option", "lrr", {"lr"}, "See the list.") ==
        "unknown option 'lrr'; did you mean lr? See the list.");
}

TEST_CASE("real_to_text is the shortest text that reads back the same", "[unit]") {
  CHECK(real_to_text(0.1) == "0.1");
  CHECK(real_to_text(1.0) == "1");
  CHECK(real_to_text(-0.0) == "0");
  CHECK(real_to_text(1e-8) == "1e-08");
  CHECK(real_to_text(1e300) == "1e+300");
  CHECK(real_to_text(0.1 + 0.2) == "0.30000000000000004");
  for (const double value : {5e-324, std::nextafter(1.0, 2.0), 1.0 / 3, -123456.789,
                             std::numeric_limits<double>::max()}) {
    CHECK(parse_real(real_to_text(value)) == value);
  }
}

TEST_CASE("numbers are parsed whole or not at all", "[unit]") {
  CHECK(parse_integer("-12") == -12);
  CHECK(parse_integer("9223372036854775807") == std::numeric_limits<std::int64_t>::max());
  for (const char* bad : {"", "-", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "9223372036854775808"}) {
    INFO(bad);
    CHECK_FALSE(parse_integer(bad).has_value());
  }
  CHECK(parse_real("1e-3") == 0.001);
  CHECK(parse_real("-5") == -5.0);
  CHECK(parse_real(".5") == 0.5);
  for (const char* bad :
       {"", "1,5", "+1", " 1", "1 ", "nan", "inf", "-inf", "1e999", "1.0f", "e5"}) {
    INFO(bad);
    CHECK_FALSE(parse_real(bad).has_value());
  }
}

TEST_CASE("split, join and trim", "[unit]") {
  CHECK(split("a,b,,c", ',') == Names{"a", "b", "", "c"});
  CHECK(split("", ',') == Names{""});
  CHECK(split("a,", ',') == Names{"a", ""});
  CHECK(join({"a", "b"}, ", ") == "a, b");
  CHECK(join({}, ", ").empty());
  CHECK(trim(" \t a b \r\n") == "a b");
  CHECK(trim("   ").empty());
}

}  // namespace tandem::test::core_text_unit
