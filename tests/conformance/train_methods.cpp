// A battery over the registries: a new weights method or optimizer is tested by being registered,
// in every storage that serves it.
#include <catch2/catch.hpp>

#include "support/method_course.h"
#include "support/train_support.h"

namespace tandem::test::train_methods_conformance {

using namespace tandem::test;

TEST_CASE("every method keeps budget, policies, seed and state", "[conformance]") {
  MethodWalk{}.over_methods(require_conformance);
}

TEST_CASE("every method keeps them under each choice of its own options", "[conformance]") {
  MethodWalk{}.over_choices(require_conformance);
}

TEST_CASE("a diverged replica is frozen and the others go on", "[conformance]") {
  const Config wild = small_run({{"lr", "1e30"}, {"clip", "0"}, {"steps", "12"}});
  const Config calm = small_run({{"steps", "12"}, {"clip", "0"}});
  GroupSpec spec;
  spec.runs = {wild, calm};
  MemorySink sink;
  run_group(spec, sink);
  std::map<std::string, std::string> states;
  for (const auto& [key, line] : sink.rows()) {
    const RowBody body = decode_row(line).body;
    if (const auto* state = std::get_if<StateRow>(&body)) states[key.first] = state->state;
  }
  REQUIRE(states.at(wild.id()) == "diverged");
  REQUIRE(states.at(calm.id()) == "done");
}

}  // namespace tandem::test::train_methods_conformance
