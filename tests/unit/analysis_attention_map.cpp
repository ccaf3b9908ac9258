// A head's attention as a picture: what its CSV and its script say.
#include <catch2/catch.hpp>

#include "analysis/attention_map.h"

namespace tandem::test::analysis_attention_map_unit {

using Catch::Contains;

TEST_CASE("a map has a line for each query and key that is not after it", "[unit]") {
  AttentionMap map;
  map.run = "abc";
  map.title = "layer 0, head 1";
  map.tokens = 3;
  map.block_size = 2;
  map.weights = {1, 0, 0, 0.25, 0.75, 0, 0.5, 0.49999, 0.00001};
  map.chosen = {1, 0, 1, 0, 0, 1};
  map.symbols = {7, 8, 9};
  const Figure figure = attention_map_figure(map);
  CHECK(figure.csv ==
        "run,query,key,query_token,key_token,weight,chosen\n"
        "abc,0,0,7,7,1,1\n"
        "abc,1,0,8,7,0.25,1\n"
        "abc,1,1,8,8,0.75,1\n"
        "abc,2,0,9,7,0.5,0\n"
        "abc,2,1,9,8,0.49999,0\n"
        "abc,2,2,9,9,1e-05,1\n");
  CHECK_THAT(figure.script,
             Contains("$weights << EOD\n1 NaN NaN\n0.25 0.75 NaN\n0.5 0.5 0.001\nEOD\n"));
  CHECK_THAT(figure.script, Contains("$chosen << EOD\n1 NaN\n1 NaN\n0 1\nEOD\n"));
  CHECK_THAT(figure.script, Contains("layer 0, head 1"));
  CHECK(figure.summary == "3 queries and keys");
}

}  // namespace tandem::test::analysis_attention_map_unit
