// Methods that draw by position, or hold more than their budget for a while: the same bits alone
// and in company, and stopped and resumed.
#include <catch2/catch.hpp>

#include "support/resume_support.h"

namespace tandem::test::train_drawn_parity {

using namespace tandem::test;

namespace {

std::vector<Settings> kinds() {
  Settings unfired = busy_method("itop", "sgd", 30, 4), soft = busy_method("mest", "sgd", 30, 4),
           drawn = busy_method("cht", "sgd", 30, 4);
  unfired["grow_by"] = "random_unfired";
  soft["mest_order"] = "soft_bound";
  soft["drop_fraction"] = "0.1";
  drawn["cht_removal"] = drawn["cht_growth"] = "soft";
  drawn["cht_score"] = "relative_importance";
  for (Settings* said : {&unfired, &soft, &drawn}) (*said)["curve"] = "true";
  return {unfired, soft, drawn};
}

std::map<std::pair<std::string, std::int64_t>, std::string> rows_of(
    const std::vector<Config>& runs) {
  GroupSpec spec;
  spec.runs = runs;
  MemorySink sink;
  run_group(spec, sink);
  return sink.results();
}

}  // namespace

TEST_CASE("drawn and softly bounded topologies are the same alone and in company", "[parity]") {
  for (const Settings& base : kinds()) {
    CAPTURE(base);
    Settings second = base, third = base;
    second["seed"] = "2";
    second["drop_fraction"] = "0.2";
    third["seed"] = "3";
    third["density"] = "0.4";
    const std::vector<Config> group = {small_run(base), small_run(second), small_run(third)};
    const auto company = rows_of(group);
    for (const Config& run : group) {
      const auto alone = rows_of({run});
      REQUIRE(alone.size() > 20);
      for (const auto& [key, line] : alone) {
        CAPTURE(key.second);
        REQUIRE(company.at(key) == line);
      }
    }
  }
}

TEST_CASE("drawn and softly bounded topologies resume to the same bits", "[parity]") {
  for (const Settings& said : kinds()) {
    CAPTURE(said);
    require_resumable(pair_of(said), 7);
  }
}

}  // namespace tandem::test::train_drawn_parity
