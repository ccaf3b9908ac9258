// A battery over the registries: a new weights method or optimizer is tested by being registered,
// in every storage that serves it.
#include <algorithm>
#include <catch2/catch.hpp>

#include "support/method_course.h"
#include "support/train_support.h"

namespace tandem::test::train_methods_conformance {

using namespace tandem::test;

using Names = std::vector<std::string>;

namespace {

// Names each that is on one side alone.
void require_same_names(const Names& got, const Names& expected) {
  for (const std::string& each : got) {
    INFO("new: '" << each << "'");
    CHECK(std::count(expected.begin(), expected.end(), each) == 1);
  }
  for (const std::string& each : expected) {
    INFO("gone: '" << each << "'");
    CHECK(std::count(got.begin(), got.end(), each) == 1);
  }
}

}  // namespace

// Refusing what used to work must not pass unseen. Of these, most ask for company: stale births for
// values to be held, fresh batches for a criterion that reads gradients or inputs, a superset's
// outside for a superset, the logits for a propagated counterpart. Redistribution and ablation
// count on places that can grow again.
TEST_CASE("what the walk leaves out is what is known to be refused", "[conformance]") {
  const Names refused = {
      "acdc growth_batches=2",
      "alternate growth_batches=2",
      "alternate superset_outside=zero",
      "cht grow_init=stale",
      "cht growth_batches=2",
      "cram growth_batches=2",
      "dsd growth_batches=2",
      "gmp growth_batches=2",
      "granet grow_init=stale",
      "itop grow_init=stale",
      "itop growth_batches=2",
      "mest grow_init=stale",
      "prune_finetune growth_batches=2",
      "rigl grow_init=stale",
      "rigl_teacher grow_init=stale",
      "sandwich growth_batches=2",
      "set grow_init=stale",
      "set growth_batches=2",
      "snfs grow_init=stale",
      "snfs growth_batches=2",
      "snfs regrow_dropped=exclude",
      "srigl grow_init=stale",
      "srigl regrow_dropped=exclude",
      "srste growth_batches=2",
      "ssa growth_batches=2",
      "ssa superset_outside=zero",
      "ssa weights_distance=logit_kl",
      "ssa weights_site=logits",
      "ste growth_batches=2",
      "topkast growth_batches=2",
  };
  require_same_names(refused_choices(), refused);
  require_same_names(refused_optimizers(), {});
  require_same_names(sparse_methods(), {"cht", "gmp", "granet", "itop", "mest", "rigl",
                                        "rigl_teacher", "set", "static"});
}

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
