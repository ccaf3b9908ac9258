// What a step's losses and gradient norms make of its plan: which replicas change, how far their
// gradients are clipped, which of them have diverged. Per replica, in this order:
//   takes part   plan.runs and state.alive
//   diverges     takes part and a term of the loss, or (where it steps) a net's norm, is not finite
//   is updated   takes part, does not diverge, and plan.steps
//   is steered   takes part, does not diverge, aligns, has a gap_target and a finite gap:
//                alpha_factor <- clamp(alpha_factor (gap / gap_target)^gap_rate, 1e-3, 1e3),
//                each level by itself
// Sums of losses and counts of updates live in the state, so that no step needs the host. Every
// record is made of doubles: a table of them is a tensor, and an integer below 2^53 is exact.
#pragma once

#include <cstdint>

#include "kernels/update/update.h"

namespace tandem::kernels {

// One level's numbers in one step.
struct LevelNumbers {
  double full = 1;                                      // the full stream runs
  double full_coefficient = 0, sparse_coefficient = 0;  // alpha lambda / sites
  double full_layers = 0;  // bit l: in layer l it does, where layers draw for themselves
  double gap_target = 0, gap_rate = 0;  // of the steering of alpha; 0: none
};

// One replica's numbers in one step; flags are 0 or 1. Uploaded as [steps,R].
struct StepNumbers {
  double runs = 1;   // 0: idle, nothing of it changes
  double steps = 1;  // 0: a topology update takes the place of the optimizer's step
  double lr = 0;
  double keep_dormant = 1;   // 1 - eta
  double mask_gradient = 0;  // S = M
  double mask_update = 0;    // U = M
  LevelNumbers attention = {}, weights = {};
  double nested = 0;                      // the nested mask that a sparse stream uses
  double loss_full = 1, loss_sparse = 1;  // weights of the two passes' task losses
  double dormant_gradient_decay = 0;      // eta that joins the dormant weights' gradient
  double examples = 0;                    // that count in its batch; what follows them is padding
};
constexpr std::int64_t kStepNumbers = sizeof(StepNumbers) / sizeof(double);

struct ReplicaConstants {
  double momentum = 0, weight_decay = 0;
  double clip = 0;  // 0: neither clipped nor checked
};
constexpr std::int64_t kReplicaConstants = sizeof(ReplicaConstants) / sizeof(double);

// One level's state.
struct LevelState {
  double gap = 0;           // of its streams, as the last step that measured it left it
  double alpha_factor = 1;  // of its alignment, where it is steered
};

// Stored by checkpoints as it lies here: what is new joins at the end.
struct ReplicaState {
  double alive = 1;
  double steps = 0;    // taken part in so far
  double updates = 0;  // by the optimizer so far: without steps whose place an update took
  double loss_sum = 0, alignment_sum = 0, losses = 0;  // since they were last read
  LevelState weights = {};
  double strategy_sum = 0;  // of a strategy's terms, since they were last read
  LevelState attention = {};
  double model_sum = 0;  // of the model's own terms, since they were last read
};
constexpr std::int64_t kReplicaState = sizeof(ReplicaState) / sizeof(double);

// What a step leaves, R = replicas. A replica may train several nets side by side (its own and a
// teacher), whose gradients have nothing to do with each other: each is clipped by its own norm.
struct StepOutcome {
  const StepNumbers* numbers = nullptr;         // [R]
  const ReplicaConstants* constants = nullptr;  // [R]
  const double* loss = nullptr;                 // [R] summed up in the state
  const double* alignment = nullptr;            // [R] likewise
  const double* strategy = nullptr;             // [R] likewise; null: none
  const double* model = nullptr;                // [R] likewise; null: none
  const double* rest = nullptr;     // [R] all other terms of the loss, checked alone; null: none
  const double* squares = nullptr;  // [nets,R] of each net's gradient; null where nothing clips
  std::int64_t replicas = 0, nets = 1;
};

// Changes state [R], writes updates [nets,R]; those of a replica differ in `scale` alone.
void finish_step(const StepOutcome& outcome, ReplicaState* state, ReplicaUpdate* updates);

}  // namespace tandem::kernels
