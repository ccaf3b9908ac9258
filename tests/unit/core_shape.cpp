// Shape checks on anything with sizes().
#include <catch2/catch.hpp>

#include "core/shape.h"

namespace tandem::test::core_shape_unit {

namespace {
struct Shaped {
  std::vector<std::int64_t> shape;
  const std::vector<std::int64_t>& sizes() const { return shape; }
};
}  // namespace

TEST_CASE("expect_shape accepts equal sizes and -1 for any", "[unit]") {
  CHECK_NOTHROW(expect_shape(Shaped{{2, 3}}, {2, 3}, "x"));
  CHECK_NOTHROW(expect_shape(Shaped{{2, 3}}, {-1, 3}, "x"));
  CHECK_NOTHROW(expect_shape(Shaped{{}}, {}, "x"));
}

TEST_CASE("expect_shape says what was expected and what there is", "[unit]") {
  CHECK_THROWS_AS(expect_shape(Shaped{{2, 3}}, {2, 4}, "x"), std::invalid_argument);
  CHECK_THROWS_AS(expect_shape(Shaped{{2, 3}}, {2}, "x"), std::invalid_argument);
  CHECK_THROWS_AS(expect_shape(Shaped{{2}}, {2, 1}, "x"), std::invalid_argument);
  CHECK_THROWS_WITH(expect_shape(Shaped{{2, 3}}, {-1, 4}, "bias"),
                    "bias has shape [2, 3], expected [any, 4]");
}

}  // namespace tandem::test::core_shape_unit
