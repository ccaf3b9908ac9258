// Every weights method with both optimizers, stopped and resumed; see tests/crash/train_resume.cpp.
#include <catch2/catch.hpp>

#include "methods/method.h"
#include "support/resume_support.h"

using namespace tandem;
using namespace tandem::test;

TEST_CASE("every method resumes to the same bits with both optimizers", "[slow]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    for (const std::string optimizer : {"sgd", "adamw"}) {
      CAPTURE(name, optimizer);
      require_resumable(pair_of({{"weights", name}, {"optimizer", optimizer}, {"lr", "0.01"}}), 11);
    }
  }
}
