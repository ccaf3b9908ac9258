// Optimizers over parameters of any storage: flat values in replica segments with named slots.
// Registered by name; one file each. The gradient of a step is S * G, clipped per replica by its
// norm over all parameters; U says what changes (see policy/policy.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "kernels/update/update.h"
#include "topology/parameter.h"

namespace tandem {

struct ReplicaStep {
  bool apply = true;
  double lr = 0;
  double keep_dormant = 1;     // 1 - eta of this step; connections only
  bool mask_gradient = false;  // S = M for parameters with connections
  bool mask_update = false;    // U = M
  std::int64_t count = 0;      // updates this replica has had before
};

class Optimizer {
 public:
  explicit Optimizer(const std::vector<Config>& configs);
  virtual ~Optimizer() = default;

  // Slots a connection's weights need a count of their own in (newborn weights start from zero).
  void count_per_weight(bool on) { count_per_weight_ = on; }
  // Declares slots; called once, before the first step and before a checkpoint is loaded.
  virtual void prepare(Parameter& parameter) = 0;
  // One step of all parameters from their gradients. Returns the gradients' norm per replica before
  // clipping, [R]; a replica whose norm is not finite is left as it is.
  std::vector<double> step(const std::vector<Parameter*>& parameters,
                           const std::vector<ReplicaStep>& replicas);

 protected:
  virtual void update(Parameter& parameter, const kernels::UpdateMasks& masks,
                      const std::vector<kernels::ReplicaUpdate>& replicas) = 0;
  bool count_per_weight_ = false;

 private:
  struct Numbers {  // of a replica
    double clip, momentum, weight_decay;
  };
  double norm_of(const std::vector<Parameter*>& parameters, const std::vector<at::Tensor>& active,
                 const ReplicaStep& replica, std::int64_t r) const;

  std::vector<Numbers> numbers_;  // [R]
};

using OptimizerFactory = std::unique_ptr<Optimizer> (*)(const std::vector<Config>&);
Registry<OptimizerFactory>& optimizers();

}  // namespace tandem
