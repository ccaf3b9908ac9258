// Optimizers over parameters of any storage: flat values in replica segments with named slots.
// Registered by name; one file each. The gradient of a step is S * G, clipped per replica and net
// by its norm over all of the net's parameters; U says what changes (see policy/policy.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "topology/parameter.h"
#include "train/update_binding.h"

namespace tandem {

// What a strategy asks of one parameter's update, beside Parameter::flat().
struct UpdateTerms {
  at::Tensor may_change = {};        // uint8; nothing else moves, and no other gradient counts
  at::Tensor along = {}, path = {};  // path += along (before - after), in the weights' type
};

class Optimizer {
 public:
  explicit Optimizer(const std::vector<Config>& configs);
  virtual ~Optimizer() = default;

  // Weights need counts of their own: those of connections, where newborn ones start from zero, or
  // all, where slots are emptied within the run.
  void count_per_weight(bool of_connections, bool of_all) {
    counts_connections_ = of_connections;
    counts_all_ = of_all;
  }
  // S, U are the connections' supersets where a replica masks, instead of the active sets.
  void use_supersets(bool gradient, bool update) {
    superset_gradient_ = gradient;
    superset_update_ = update;
  }
  // Matrices are w = v |v|^(power - 1) from now on, and v is updated (powerpropagation, Schwarz et
  // al. 2021, arXiv 2110.00296). v is the slot "root"; w stays what everybody else reads.
  void raise(double power) { power_ = power; }
  // Declares slots; called once, before the first step and before a checkpoint is loaded.
  void prepare_slots(Parameter& parameter);

  // One step of the parameters of each net from their gradients. numbers [R,kStepNumbers], losses
  // [R], state [R,kReplicaState], all double and on the parameters' device; what of it changes,
  // and which replicas are left as they are, says kernels/update/finish_step.h. Waits for nothing.
  using Terms = std::map<const Parameter*, UpdateTerms>;
  void step(const std::vector<std::vector<Parameter*>>& nets, const at::Tensor& numbers,
            const StepLosses& losses, at::Tensor& state, const Terms& terms);

 protected:
  virtual void prepare(Parameter& parameter) = 0;
  virtual void update(Parameter& parameter, const UpdateTensors& tensors) = 0;
  bool counts_connections_ = false, counts_all_ = false;

 private:
  void allocate(std::int64_t nets, at::Device device);
  bool is_raised(const Parameter& parameter) const { return power_ != 1 && parameter.decays; }
  UpdateTensors tensors_of(Parameter& parameter, const at::Tensor& updates,
                           const Terms& terms) const;
  void update_raised(Parameter& parameter, UpdateTensors tensors);

  std::vector<kernels::ReplicaConstants> numbers_;  // [R]
  bool clips_ = false, superset_gradient_ = false, superset_update_ = false;
  double power_ = 1;
  at::Tensor constants_, updates_, squares_, scratch_;  // on the parameters' device
};

using OptimizerFactory = std::unique_ptr<Optimizer> (*)(const std::vector<Config>&);
Registry<OptimizerFactory>& optimizers();

}  // namespace tandem
