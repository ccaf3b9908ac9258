// How a step's gap steers the factor of alpha.
#include "kernels/update/settle.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace tandem::test::settle_test {

using namespace tandem::kernels;

namespace {

StepNumbers aligned() {
  StepNumbers numbers;
  numbers.weights_pull_full = numbers.weights_pull_sparse = 2;
  numbers.gap_target = 0.1;
  numbers.gap_rate = 0.5;
  return numbers;
}

// One step of one replica, from a state with this gap and factor.
ReplicaState after(const StepNumbers& numbers, double gap, double factor = 1, double loss = 1) {
  const ReplicaConstants constants;
  ReplicaState state;
  state.gap = gap;
  state.alpha_factor = factor;
  ReplicaUpdate update;
  const double alignment = 0;
  settle(&numbers, &constants, &loss, &alignment, nullptr, &state, &update, 1);
  return state;
}

}  // namespace

TEST_CASE("a gap above its target raises the factor, one below lowers it", "[parity]") {
  REQUIRE(after(aligned(), 0.4).alpha_factor == Approx(2));
  REQUIRE(after(aligned(), 0.025, 3).alpha_factor == Approx(1.5));
  REQUIRE(after(aligned(), 0.1, 7).alpha_factor == Approx(7));
  REQUIRE(after(aligned(), 1e9, 900).alpha_factor == 1e3);
  REQUIRE(after(aligned(), 1e-12, 0.002).alpha_factor == 1e-3);
  REQUIRE(after(aligned(), 0).alpha_factor == 1e-3);
}

TEST_CASE("steps that don't align, idle or diverge leave the factor", "[parity]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  StepNumbers free = aligned(), idle = aligned(), unsteered = aligned(), one_way = aligned();
  free.weights_pull_full = free.weights_pull_sparse = 0;
  idle.runs = 0;
  unsteered.gap_target = 0;
  one_way.weights_pull_full = 0;
  REQUIRE(after(free, 0.4, 3).alpha_factor == 3);
  REQUIRE(after(idle, 0.4, 3).alpha_factor == 3);
  REQUIRE(after(unsteered, 0.4, 3).alpha_factor == 3);
  REQUIRE(after(one_way, 0.4, 3).alpha_factor == Approx(6));
  REQUIRE(after(aligned(), nan, 3).alpha_factor == 3);
  REQUIRE(after(aligned(), std::numeric_limits<double>::infinity(), 3).alpha_factor == 3);
  const ReplicaState diverged = after(aligned(), 0.4, 3, nan);
  REQUIRE(diverged.alive == 0);
  REQUIRE(diverged.alpha_factor == 3);
}

}  // namespace tandem::test::settle_test
