// The full product of weights methods, storages and optimizers, stopped and resumed through its
// checkpoint files, rows included; see tests/crash/train_resume.cpp.
#include <catch2/catch.hpp>

#include "support/method_walk.h"
#include "support/resume_support.h"

namespace tandem::test::train_resume_all_slow {

using namespace tandem::test;

TEST_CASE("every method resumes to the same bits in each storage with each optimizer", "[slow]") {
  const auto visit = [](const MethodCase& each, Trainer&) { require_resumable(each.runs, 5); };
  MethodWalk{}.over_methods(visit);
}

}  // namespace tandem::test::train_resume_all_slow
