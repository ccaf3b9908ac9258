// Every option that a method says it reads is read: an option that is taken and has no effect would
// part equal runs. A config is resolved without the option; asking for its value then throws.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <stdexcept>

#include "config/config.h"
#include "config/option.h"
#include "config/part.h"
#include "methods/method.h"
#include "nn/outline.h"

namespace tandem::test::method_uses_conformance {
namespace {

// The program's tables without one option.
struct Tables {
  OptionTable options;
  PartTable parts;

  explicit Tables(const std::string& left_out) {
    std::vector<Option> kept = option_table().all();
    std::erase_if(kept, [&](const Option& each) { return each.name == left_out; });
    options = OptionTable(std::move(kept));
    for (Part each : part_table().all()) {
      std::erase_if(each.defaults, [&](const auto& set) { return set.first == left_out; });
      std::erase(each.uses, left_out);
      parts.declare(std::move(each));
    }
  }
  ConfigTables tables() const { return {&options, &parts}; }
};

bool is_read(const Part& method, Level level, const std::string& name) {
  const Tables without(name);
  // Values under which those that only matter beside others do.
  Settings said = {{method.kind, method.name}};
  if (level == Level::kAttention)
    said = {{method.kind, method.name}, {"data", "bytes"}, {"model", "transformer"}};
  const Settings beside = {{"weights_p_schedule", "linear"},
                           {"attention_p_schedule", "linear"},
                           {"drop_schedule", "linear"},
                           {"superset_density", "0.5"}};
  for (const auto& [other, value] : beside) {
    const bool uses = std::find(method.uses.begin(), method.uses.end(), other) != method.uses.end();
    if (uses && other != name) said[other] = value;
  }
  const Config config = Config::resolve(said, false, without.tables());
  try {
    policies_of(config, level);
    // What only its module reads, the module checks before anything runs.
    if (level == Level::kAttention) outline_of(config).layers(config, {});
  } catch (const std::logic_error&) {
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("every option that a method lists is read by it", "[conformance]") {
  const std::set<std::string> of_the_model = {"widths_match"};  // nn/model.h reads it
  for (const auto& [kind, level] :
       {std::pair<std::string, Level>{"weights", Level::kWeights},
        std::pair<std::string, Level>{"attention", Level::kAttention}}) {
    for (const Part& method : parts_of(kind)) {
      for (const std::string& name : method.uses) {
        if (of_the_model.count(name) != 0) continue;
        INFO(kind << " " << method.name << " uses " << name);
        CHECK(is_read(method, level, name));
      }
    }
  }
}

}  // namespace tandem::test::method_uses_conformance
