// Bytes of a replica on a GPU.
#include <catch2/catch.hpp>

#include "jobs/working_set.h"
#include "support/train_support.h"

namespace tandem::test::jobs_working_set_unit {

using namespace tandem::test;

namespace {

double bytes_of(Settings said) { return gpu_bytes_of(small_run(std::move(said))); }

}  // namespace

TEST_CASE("a teacher and perturbed weights take memory of a GPU", "[unit]") {
  const double rigl = bytes_of({{"weights", "rigl"}}), dense = bytes_of({{"weights", "dense"}});
  CHECK(rigl == dense);
  const double taught = bytes_of({{"weights", "rigl_teacher"}});
  CHECK(taught > 1.2 * rigl);
  CHECK(taught < 2 * rigl);
  CHECK(bytes_of({{"weights", "rigl_teacher"}, {"teacher_alpha", "0"}}) == rigl);
  for (const char* method : {"sam", "cram"}) {
    CAPTURE(method);
    CHECK(bytes_of({{"weights", method}}) > 1.2 * dense);
    CHECK(bytes_of({{"weights", method}}) < 2 * dense);
  }
  CHECK(bytes_of({{"weights", "rigl"}, {"batch", "4000"}}) > rigl);
  CHECK(bytes_of({{"weights", "rigl"}, {"widths", "370,230"}}) > rigl);
}

}  // namespace tandem::test::jobs_working_set_unit
