// Optimizers over parameters of any storage: flat values in replica segments with named slots.
// Registered by name; one file each. The gradient of a step is S * G, clipped per replica by its
// norm over all parameters; U says what changes (see policy/policy.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "topology/parameter.h"
#include "train/update_binding.h"

namespace tandem {

class Optimizer {
 public:
  explicit Optimizer(const std::vector<Config>& configs);
  virtual ~Optimizer() = default;

  // Slots a connection's weights need a count of their own in (newborn weights start from zero).
  void count_per_weight(bool on) { count_per_weight_ = on; }
  // Declares slots; called once, before the first step and before a checkpoint is loaded.
  virtual void prepare(Parameter& parameter) = 0;

  // One step of all parameters from their gradients. numbers [R,kStepNumbers], loss and alignment
  // [R], state [R,kReplicaState], all double and on the parameters' device; what of it changes,
  // and which replicas are left as they are, says kernels/update/settle.h. Waits for nothing.
  void step(const std::vector<Parameter*>& parameters, const at::Tensor& numbers,
            const at::Tensor& loss, const at::Tensor& alignment, at::Tensor& state);

 protected:
  virtual void update(Parameter& parameter, const UpdateTensors& tensors) = 0;
  bool count_per_weight_ = false;

 private:
  void allocate(at::Device device);

  std::vector<kernels::ReplicaConstants> numbers_;  // [R]
  bool clips_ = false;
  at::Tensor constants_, updates_, squares_, scratch_;  // on the parameters' device
};

using OptimizerFactory = std::unique_ptr<Optimizer> (*)(const std::vector<Config>&);
Registry<OptimizerFactory>& optimizers();

}  // namespace tandem
