// finish_step() of one replica; the CPU and the GPU run the same lines.
#pragma once

#include <cmath>

#include "core/host_device.h"
#include "kernels/update/finish_step.h"

namespace tandem::kernels {

constexpr double kLeastAlphaFactor = 1e-3, kMostAlphaFactor = 1e3;

TANDEM_HOST_DEVICE inline bool is_finite(double x) { return x - x == 0; }

TANDEM_HOST_DEVICE inline void steer_alpha(const LevelNumbers& numbers, LevelState& state) {
  const bool aligns = numbers.full_coefficient != 0 || numbers.sparse_coefficient != 0;
  if (!aligns || numbers.gap_target <= 0 || !is_finite(state.gap)) return;
  const double factor =
      state.alpha_factor * std::pow(state.gap / numbers.gap_target, numbers.gap_rate);
  state.alpha_factor = factor < kLeastAlphaFactor  ? kLeastAlphaFactor
                       : factor > kMostAlphaFactor ? kMostAlphaFactor
                                                   : factor;
}

// The norm of one net's gradient; 0 where nothing clips or no step is taken.
TANDEM_HOST_DEVICE inline double norm_of(const StepOutcome& outcome, std::int64_t net,
                                         std::int64_t r) {
  const bool asks =
      outcome.squares != nullptr && outcome.constants[r].clip > 0 && outcome.numbers[r].steps != 0;
  return asks ? std::sqrt(outcome.squares[net * outcome.replicas + r]) : 0;
}

TANDEM_HOST_DEVICE inline bool is_finite(const StepOutcome& outcome, std::int64_t r) {
  const double rest = (outcome.rest != nullptr ? outcome.rest[r] : 0) +
                      (outcome.strategy != nullptr ? outcome.strategy[r] : 0) +
                      (outcome.model != nullptr ? outcome.model[r] : 0);
  bool finite = is_finite(outcome.loss[r] + outcome.alignment[r]) && is_finite(rest);
  for (std::int64_t net = 0; net < outcome.nets; ++net) {
    finite = finite && is_finite(norm_of(outcome, net, r));
  }
  return finite;
}

TANDEM_HOST_DEVICE inline void finish_replica(const StepOutcome& outcome, std::int64_t r,
                                              ReplicaState* states, ReplicaUpdate* updates) {
  const StepNumbers& numbers = outcome.numbers[r];
  const ReplicaConstants& constants = outcome.constants[r];
  ReplicaState& state = states[r];
  const bool takes_part = numbers.runs != 0 && state.alive != 0;
  const bool finite = is_finite(outcome, r);
  const bool applies = takes_part && numbers.steps != 0 && finite;
  for (std::int64_t net = 0; net < outcome.nets; ++net) {
    ReplicaUpdate& update = updates[net * outcome.replicas + r];
    const double norm = norm_of(outcome, net, r);
    update.apply = applies;
    update.lr = numbers.lr;
    update.momentum = constants.momentum;
    update.weight_decay = constants.weight_decay;
    update.scale = constants.clip > 0 && norm > constants.clip ? constants.clip / norm : 1;
    update.keep_dormant = numbers.keep_dormant;
    update.mask_gradient = numbers.mask_gradient != 0;
    update.mask_update = numbers.mask_update != 0;
    update.step = static_cast<std::int64_t>(state.updates) + 1;
  }
  if (!takes_part) return;
  if (!finite) {
    state.alive = 0;
    return;
  }
  state.loss_sum += outcome.loss[r];
  state.alignment_sum += outcome.alignment[r];
  if (outcome.strategy != nullptr) state.strategy_sum += outcome.strategy[r];
  if (outcome.model != nullptr) state.model_sum += outcome.model[r];
  state.losses += 1;
  state.steps += 1;
  if (applies) state.updates += 1;
  steer_alpha(numbers.attention, state.attention);
  steer_alpha(numbers.weights, state.weights);
}

}  // namespace tandem::kernels
