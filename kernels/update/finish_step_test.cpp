// How a step's gap steers the factor of alpha; norms of several nets; terms that are not finite.
#include "kernels/update/finish_step.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace tandem::test::finish_step_test {

using namespace tandem::kernels;

namespace {

StepNumbers aligned() {
  StepNumbers numbers;
  numbers.weights.full_coefficient = numbers.weights.sparse_coefficient = 2;
  numbers.weights.gap_target = 0.1;
  numbers.weights.gap_rate = 0.5;
  return numbers;
}

// One step of one replica, from a state with this gap and factor.
ReplicaState after(const StepNumbers& numbers, double gap, double factor = 1, double loss = 1) {
  const ReplicaConstants constants;
  ReplicaState state;
  state.weights.gap = gap;
  state.weights.alpha_factor = factor;
  ReplicaUpdate update;
  const double alignment = 0;
  finish_step({.numbers = &numbers,
               .constants = &constants,
               .loss = &loss,
               .alignment = &alignment,
               .replicas = 1},
              &state, &update);
  return state;
}

}  // namespace

TEST_CASE("a gap above its target raises the factor, one below lowers it", "[parity]") {
  REQUIRE(after(aligned(), 0.4).weights.alpha_factor == Approx(2));
  REQUIRE(after(aligned(), 0.025, 3).weights.alpha_factor == Approx(1.5));
  REQUIRE(after(aligned(), 0.1, 7).weights.alpha_factor == Approx(7));
  REQUIRE(after(aligned(), 1e9, 900).weights.alpha_factor == 1e3);
  REQUIRE(after(aligned(), 1e-12, 0.002).weights.alpha_factor == 1e-3);
  REQUIRE(after(aligned(), 0).weights.alpha_factor == 1e-3);
}

TEST_CASE("steps that don't align, idle or diverge leave the factor", "[parity]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  StepNumbers free = aligned(), idle = aligned(), unsteered = aligned(), one_way = aligned();
  free.weights.full_coefficient = free.weights.sparse_coefficient = 0;
  idle.runs = 0;
  unsteered.weights.gap_target = 0;
  one_way.weights.full_coefficient = 0;
  REQUIRE(after(free, 0.4, 3).weights.alpha_factor == 3);
  REQUIRE(after(idle, 0.4, 3).weights.alpha_factor == 3);
  REQUIRE(after(unsteered, 0.4, 3).weights.alpha_factor == 3);
  REQUIRE(after(one_way, 0.4, 3).weights.alpha_factor == Approx(6));
  REQUIRE(after(aligned(), nan, 3).weights.alpha_factor == 3);
  REQUIRE(after(aligned(), std::numeric_limits<double>::infinity(), 3).weights.alpha_factor == 3);
  const ReplicaState diverged = after(aligned(), 0.4, 3, nan);
  REQUIRE(diverged.alive == 0);
  REQUIRE(diverged.weights.alpha_factor == 3);
}

TEST_CASE("a strategy's term is summed apart, and one that is not finite ends the run",
          "[parity]") {
  const StepNumbers numbers[2];
  const ReplicaConstants constants[2];
  const double loss[2] = {1, 1}, alignment[2] = {0, 0};
  double strategy[2] = {0.25, 0.5};
  ReplicaState state[2];
  ReplicaUpdate updates[2];
  const auto step = [&] {
    finish_step({.numbers = numbers,
                 .constants = constants,
                 .loss = loss,
                 .alignment = alignment,
                 .strategy = strategy,
                 .replicas = 2},
                state, updates);
  };
  step();
  step();
  REQUIRE(state[0].strategy_sum == 0.5);
  REQUIRE(state[1].strategy_sum == 1);
  REQUIRE(state[0].loss_sum == 2);
  strategy[1] = std::numeric_limits<double>::infinity();
  step();
  REQUIRE(state[0].alive == 1);
  REQUIRE(state[1].alive == 0);
  REQUIRE(state[1].strategy_sum == 1);
  REQUIRE_FALSE(updates[1].apply);
}

namespace {

// One step of two replicas that train two nets each.
struct TwoNets {
  StepNumbers numbers[2];
  ReplicaConstants constants[2] = {{.clip = 1}, {.clip = 2}};
  double loss[2] = {1, 1}, alignment[2] = {0, 0}, rest[2] = {0, 0};
  double squares[4] = {4, 1, 0.25, 64};  // norms 2 and 1, then 0.5 and 8
  ReplicaState state[2];
  ReplicaUpdate updates[4];

  void finish_all() {
    finish_step({.numbers = numbers,
                 .constants = constants,
                 .loss = loss,
                 .alignment = alignment,
                 .rest = rest,
                 .squares = squares,
                 .replicas = 2,
                 .nets = 2},
                state, updates);
  }
};

}  // namespace

TEST_CASE("each net of a replica is clipped by its own norm", "[parity]") {
  TwoNets nets;
  nets.finish_all();
  CHECK(nets.updates[0].scale == 0.5);   // first net: 2 over 1
  CHECK(nets.updates[1].scale == 1);     // 1 under 2
  CHECK(nets.updates[2].scale == 1);     // second net: 0.5 under 1
  CHECK(nets.updates[3].scale == 0.25);  // 8 over 2
  for (const ReplicaUpdate& update : nets.updates) CHECK((update.apply && update.step == 1));
  for (const ReplicaState& state : nets.state) CHECK((state.updates == 1 && state.losses == 1));
}

TEST_CASE("a replica diverges by any term of its loss and any net's norm", "[parity]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto diverges = [](const auto& spoil) {
    TwoNets nets;
    spoil(nets);
    nets.finish_all();
    CHECK(nets.state[1].alive == 1);
    CHECK((nets.updates[1].apply && nets.updates[3].apply));
    CHECK(nets.updates[0].apply == (nets.state[0].alive == 1));
    CHECK(nets.updates[2].apply == nets.updates[0].apply);
    return nets.state[0].alive == 0;
  };
  CHECK_FALSE(diverges([](TwoNets&) {}));
  CHECK(diverges([&](TwoNets& nets) { nets.loss[0] = nan; }));
  CHECK(diverges([&](TwoNets& nets) { nets.alignment[0] = infinity; }));
  CHECK(diverges([&](TwoNets& nets) { nets.rest[0] = nan; }));
  CHECK(diverges([&](TwoNets& nets) { nets.squares[0] = infinity; }));
  CHECK(diverges([&](TwoNets& nets) { nets.squares[2] = nan; }));
}

}  // namespace tandem::test::finish_step_test
