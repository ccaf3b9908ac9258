// One observed course, and two that must follow it.
#include "support/method_course.h"

#include <catch2/catch.hpp>

#include "support/layer_state.h"
#include "support/method_rules.h"

namespace tandem::test {
namespace {

constexpr std::int64_t kStop = 6;  // between two updates, with slots that matter to the next

std::vector<SavedState> saved(const Trainer& trainer) {
  std::vector<SavedState> states;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) states.push_back(trainer.save(r));
  return states;
}

void require_same_states(const std::vector<SavedState>& a, const std::vector<SavedState>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t r = 0; r < a.size(); ++r) require_same_state(a[r], b[r]);
}

// A run's masks after each step, its state on the way and at the end.
struct Course {
  std::vector<std::string> masks;
  std::vector<SavedState> stopped, ended;
};

Course observed_course(Trainer& trainer) {
  Course course;
  Observed observed(trainer);
  for (std::int64_t step = 0; step < kWalkSteps; ++step) {
    if (step == kStop) course.stopped = saved(trainer);
    observed.advance(step);
    course.masks.push_back(mask_hashes(trainer));
  }
  course.ended = saved(trainer);
  const TopologyRule& rule = trainer.run(0).policies.weights.topology;
  REQUIRE(observed.updated() == !rule.operations.empty());
  if (grows(rule)) REQUIRE(observed.grew());
  return course;
}

// What the same run does from `first` on.
void require_follows(const Course& course, Trainer& trainer, std::int64_t first) {
  for (std::int64_t step = first; step < kWalkSteps; ++step) {
    CAPTURE(step);
    trainer.advance(0, step, 1);
    REQUIRE(mask_hashes(trainer) == course.masks[static_cast<std::size_t>(step)]);
  }
  require_same_states(saved(trainer), course.ended);
}

// The two runs, whose seeds differ, have other masks somewhere, unless all weights are active.
void require_own_masks(Trainer& trainer) {
  bool dormant = false, differ = false;
  for (const Linear* layer : trainer.model().linears()) {
    const Connections& connections = *layer->connections;
    dormant = dormant || connections.active(0) < connections.positions();
    differ = differ || connections.active_set(0).hash() != connections.active_set(1).hash();
  }
  REQUIRE(differ == dormant);
}

}  // namespace

void require_conformance(const MethodCase& each, Trainer& trainer) {
  const Course course = observed_course(trainer);
  require_own_masks(trainer);
  require_follows(course, *each.start(), 0);
  const auto resumed = each.start();
  for (std::int64_t r = 0; r < resumed->replicas(); ++r) {
    resumed->load(r, course.stopped[static_cast<std::size_t>(r)]);
  }
  require_follows(course, *resumed, kStop);
}

}  // namespace tandem::test
