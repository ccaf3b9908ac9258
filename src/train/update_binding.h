// The kernels of kernels/update and kernels/pull over tensors, on the device where these lie: the
// CPU's in the program, a GPU's in the plug-in. Nothing waits. Throws DeviceError where a launch
// fails.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "kernels/update/finish_step.h"
#include "kernels/update/update.h"

namespace tandem {

// A parameter in one update: flat values and slots in replica segments, float or double.
struct UpdateTensors {
  at::Tensor weight, gradient;  // [R n]
  at::Tensor active;            // uint8 [R n]: M, and S and U where a replica masks; undefined: all
  at::Tensor replicas;          // uint8 [R sizeof(ReplicaUpdate)]
  std::vector<std::int64_t> segments;  // [R+1] offsets; on a GPU all segments are of one length
  at::Tensor gradient_set = {}, update_set = {};  // S and U where they are not M; undefined: are M
  at::Tensor may_change = {};        // uint8 [R n]: nothing else moves; undefined: everything may
  at::Tensor along = {}, path = {};  // [R n] of kernels::PathTerm; undefined: there is none
};

void sgd_update(const UpdateTensors& tensors, const at::Tensor& momentum, kernels::SgdRule rule);
void adam_update(const UpdateTensors& tensors, const at::Tensor& first, const at::Tensor& second,
                 const at::Tensor& count, kernels::AdamRule rule);

// squares[r] += sum of squares of S * gradient, in the parameter's segments; numbers double
// [R,kStepNumbers], squares double [R], scratch double [R,kSquaresParts] on a GPU.
void add_squares(const at::Tensor& gradient, const at::Tensor& active,
                 const std::vector<std::int64_t>& segments, const at::Tensor& numbers,
                 const at::Tensor& scratch, at::Tensor squares);

// A pull toward values (kernels/pull/pull.h): tensors beside a parameter's flat values.
struct PullTensors {
  at::Tensor weight, center, importance;
  at::Tensor factor;                   // [R] of the weights' type
  std::vector<std::int64_t> segments;  // [R+1] offsets; on a GPU all segments are of one length
  at::Tensor gradient = {};            // undefined: zeros
  at::Tensor flags = {};               // bool; undefined: all are set
};
// The gradient with the pull's, flat, and the pull's value without its factor, double [R].
std::pair<at::Tensor, at::Tensor> pulled(const PullTensors& tensors);

// What a step's losses are, double [R]: see kernels::StepOutcome.
struct StepLosses {
  at::Tensor task, alignment;
  at::Tensor strategy = {};  // a strategy's terms; undefined: none
  at::Tensor model = {};     // the model's own; undefined: none
  at::Tensor rest = {};      // of all else that gradients are of; undefined: there is nothing else
};

// See kernels/update/finish_step.h; tables of doubles [R,...], squares [nets,R] or undefined;
// writes `state` and `updates`, uint8 [nets, R sizeof(ReplicaUpdate)].
void finish_step(const at::Tensor& numbers, const at::Tensor& constants, const StepLosses& losses,
                 const at::Tensor& squares, at::Tensor state, at::Tensor updates);

}  // namespace tandem
