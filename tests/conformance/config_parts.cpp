// Every registered part that this program holds: what it reads and what it sets by default are
// options that exist, with values that they allow.
#include <algorithm>
#include <catch2/catch.hpp>

#include "config/option.h"
#include "config/part.h"

namespace tandem::test::config_parts_conformance {

TEST_CASE("uses and defaults of parts name options and allowed values", "[conformance]") {
  CHECK_FALSE(all_parts().empty());
  for (const auto& each : all_parts()) {
    INFO(each.kind << " " << each.name << " in " << each.file);
    CHECK_FALSE(each.summary.empty());
    CHECK_FALSE(each.file.empty());
    CHECK(each.revision >= 1);
    for (const auto& name : each.uses) {
      INFO("uses " << name);
      const Option* used = find_option(name);
      REQUIRE(used != nullptr);
      CHECK(used->of_part);
    }
    for (const auto& [name, text] : each.defaults) {
      INFO("sets " << name << " = " << text);
      const Option* set = find_option(name);
      REQUIRE(set != nullptr);
      const bool neutral = text == set->neutral;  // what nobody has to say
      if (!is_part_kind(name) && !neutral) CHECK_NOTHROW(canonical_value(*set, text));
      const bool reads = std::find(each.uses.begin(), each.uses.end(), name) != each.uses.end();
      if (set->of_part) CHECK(reads);
    }
  }
}

}  // namespace tandem::test::config_parts_conformance
