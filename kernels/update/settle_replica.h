// settle() of one replica; the CPU and the GPU run the same lines.
#pragma once

#include <cmath>

#include "kernels/update/settle.h"

#ifdef __CUDACC__
#define TANDEM_HOST_DEVICE __host__ __device__
#else
#define TANDEM_HOST_DEVICE
#endif

namespace tandem::kernels {

constexpr double kLeastAlphaFactor = 1e-3, kMostAlphaFactor = 1e3;

TANDEM_HOST_DEVICE inline bool is_finite(double x) { return x - x == 0; }

TANDEM_HOST_DEVICE inline void steer_alpha(const StepNumbers& numbers, ReplicaState& state) {
  const bool aligns = numbers.weights_pull_full != 0 || numbers.weights_pull_sparse != 0;
  if (!aligns || numbers.gap_target <= 0 || !is_finite(state.gap)) return;
  const double factor =
      state.alpha_factor * std::pow(state.gap / numbers.gap_target, numbers.gap_rate);
  state.alpha_factor = factor < kLeastAlphaFactor  ? kLeastAlphaFactor
                       : factor > kMostAlphaFactor ? kMostAlphaFactor
                                                   : factor;
}

TANDEM_HOST_DEVICE inline void settle_replica(const StepNumbers& numbers,
                                              const ReplicaConstants& constants, double loss,
                                              double alignment, double squares, ReplicaState& state,
                                              ReplicaUpdate& update) {
  const bool clips = constants.clip > 0;
  const bool takes_part = numbers.runs != 0 && state.alive != 0;
  const bool steps = takes_part && numbers.steps != 0;
  const double norm = clips && steps ? std::sqrt(squares) : 0;
  const bool finite = is_finite(loss + alignment) && is_finite(norm);
  update.apply = steps && finite;
  update.lr = numbers.lr;
  update.momentum = constants.momentum;
  update.weight_decay = constants.weight_decay;
  update.scale = clips && norm > constants.clip ? constants.clip / norm : 1;
  update.keep_dormant = numbers.keep_dormant;
  update.mask_gradient = numbers.mask_gradient != 0;
  update.mask_update = numbers.mask_update != 0;
  update.step = static_cast<std::int64_t>(state.updates) + 1;
  if (!takes_part) return;
  if (!finite) {
    state.alive = 0;
    return;
  }
  state.loss_sum += loss;
  state.alignment_sum += alignment;
  state.losses += 1;
  state.steps += 1;
  if (update.apply) state.updates += 1;
  steer_alpha(numbers, state);
}

}  // namespace tandem::kernels
