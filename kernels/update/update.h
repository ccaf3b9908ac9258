// Optimizer updates over replica segments, fused into one pass over memory.
//
// Arrays hold R segments of n values each: weight, gradient and slots [R n], masks uint8 [R n].
// A mask pointer may be null (every position). Per replica:
//   pull = scale * S * gradient  (+ weight_decay * weight where decay is coupled)
//   SGD:    momentum <- mu momentum + pull;  step = momentum, or pull + mu momentum (Nesterov)
//   Adagrad: sums <- sums + pull^2;  step = pull / (sqrt(sums) + epsilon) (Duchi et al. 2011)
//   AdamW:  Kingma & Ba 2015 with bias correction by each weight's own count of updates, so that a
//           newborn weight's first step is lr and not lr (1 - b1)/sqrt(1 - b2)
//   weight <- weight - lr step           (after weight <- (1 - lr weight_decay) weight, decoupled)
//   weight <- keep_dormant weight        where the active flag is 0
// Positions outside U, and replicas with apply = 0, keep every bit; so does, whatever the replicas
// mask, what lies outside of a set that may change, whose gradient counts as 0. Beside that a path
// may be added up of what the step moves each weight by,
//   path += along (weight before - weight after)
// with the product rounded before it is added.
#pragma once

#include <cstdint>

namespace tandem::kernels {

struct ReplicaUpdate {
  double lr = 0, momentum = 0, weight_decay = 0;
  double scale = 1;         // clipping factor
  double keep_dormant = 1;  // 1 - eta
  bool apply = true;
  bool mask_gradient = false;  // S = gradient_set, else everything
  bool mask_update = false;    // U = update_set, else everything
  std::int64_t step = 1;       // this update's number, from 1, where there is no count slot
};

struct UpdateMasks {
  const std::uint8_t* active = nullptr;        // M
  const std::uint8_t* gradient_set = nullptr;  // S
  const std::uint8_t* update_set = nullptr;    // U
  const std::uint8_t* may_change = nullptr;    // null: everything
};

template <class T>
struct PathTerm {
  const T* along = nullptr;
  T* path = nullptr;  // null: none
};

struct SgdRule {
  bool nesterov = false;
  bool decoupled_decay = false;
  bool decays = true;    // false: a parameter without weight decay
  bool adagrad = false;  // the slot has sums of squares in place of momentum
  double epsilon = 0;    // of Adagrad
};

struct AdamRule {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool decoupled_decay = true;
  bool decays = true;
};

// momentum (or sums) may be null: plain SGD.
template <class T>
void sgd_update(T* weight, const T* gradient, T* momentum, UpdateMasks masks, std::int64_t n,
                const ReplicaUpdate* replicas, std::int64_t replica_count, SgdRule rule,
                PathTerm<T> path = {});

// count may be null: every weight has been updated replicas[r].step - 1 times before.
template <class T>
void adam_update(T* weight, const T* gradient, T* first, T* second, T* count, UpdateMasks masks,
                 std::int64_t n, const ReplicaUpdate* replicas, std::int64_t replica_count,
                 AdamRule rule, PathTerm<T> path = {});

// Sum of squares of S * gradient of one segment, accumulated in a fixed order in double.
template <class T>
double sum_squares(const T* gradient, const std::uint8_t* gradient_set, std::int64_t n);

}  // namespace tandem::kernels
