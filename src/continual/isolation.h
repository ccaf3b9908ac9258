// What strategies share that give each task weights of its own: a weight is owned by the task that
// it was kept for, or free (0); owned weights stay in the topology, which moves the free ones alone
// and counts both in its budget; and at each step those of one owner change, whatever the optimizer
// and the method would do with the others. Where a task trains what it owns alone, the free weights
// rest, in the topology as well. The owner is a slot, so that topology updates carry it.
#pragma once

#include <vector>

#include "continual/strategy.h"

namespace tandem {

// What is stored of a layer's weights, by their inputs and outputs: of all replicas, beside
// Parameter::flat().
class LayerPlaces {
 public:
  LayerPlaces(const Parameter& weight, const StrategyLayer& layer, std::int64_t replicas);

  // Of a number for each input [R,in], or output [R,out], of its layer: that of each weight.
  at::Tensor of_inputs(const at::Tensor& per_input) const;
  at::Tensor of_outputs(const at::Tensor& per_output) const;
  // Of a number for each position [R, in*out].
  at::Tensor of_positions(const at::Tensor& per_position) const;
  // The sum at each input [R,in] of numbers beside the weights; the numbers at each position
  // [R, in*out], 0 where nothing is stored.
  at::Tensor sum_to_inputs(const at::Tensor& values) const;
  at::Tensor to_positions(const at::Tensor& values) const;

 private:
  at::Tensor replica() const;  // int64 [total]

  const Parameter& weight_;
  std::int64_t replicas_, inputs_, outputs_;
  at::Tensor stored_;  // int64 [total], positions; undefined: all of them
};

class IsolatedWeights : public Strategy {
 public:
  explicit IsolatedWeights(StrategyView view);

  // Free weights begin to change, unless the task goes on from a checkpoint.
  void before_task(std::int64_t task, bool resumed) override;
  StrategyNeeds needs() const override { return {.holds_weights = true}; }

  // In class-IL, where each task has outputs of its own: those of the task, which is the batch's.
  at::Tensor outputs(const StepView& view) override;
  // Says what changes in this step; of what changes by shares after_update() takes back the rest.
  at::Tensor gradient(StepGradients& gradients) override;
  void after_update() override;
  NamedTensors save(std::int64_t r) const override;
  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override;

 protected:
  // The owners of a parameter's weights, beside Parameter::flat(): a task's number, 0: free, -1:
  // free and resting.
  at::Tensor owners(Parameter& parameter) const;
  at::Tensor owners(Parameter& parameter, std::int64_t r) const;  // of a replica, sharing memory
  // The middle of gradient().
  void leave(StepGradients& gradients);
  // From now on the weights of this owner change in replica r.
  void train(std::int64_t r, std::int64_t owner);
  std::int64_t trained(std::int64_t r) const { return host_[static_cast<std::size_t>(r)]; }
  // The free weights of replica r, bool; of the layer that makes the logits, where each task has
  // outputs of its own, those of the task.
  at::Tensor free_weights(const StrategyLayer& layer, std::int64_t r, std::int64_t task) const;
  at::Tensor active(const StrategyLayer& layer, std::int64_t r) const;  // bool, likewise
  // In replica r all that is no layer's own becomes the task's where it is free: outputs of its
  // own, biases, norms, embeddings. Dormant weights of such outputs begin anew, so that the full
  // net of the task is what it has.
  void own_the_rest(std::int64_t r) const;
  // How much of a step's change a parameter's values take, beside Parameter::flat(); undefined: all
  // of it where their owner is the one that trains, else nothing.
  virtual at::Tensor share_of(std::size_t /*parameter*/) const { return {}; }
  // Weights that do not change though they are free, bool beside a parameter's values; undefined:
  // none. What it says stays alike as long as no owner is written.
  virtual at::Tensor barred(std::size_t /*parameter*/) const { return {}; }
  // Free active weights of replica r rest until the next task begins.
  void rest(std::int64_t r) const;
  std::int64_t task() const { return task_; }
  LayerPlaces places(const StrategyLayer& layer) const {
    return {*view_.parameters[layer.weight], layer, view_.replicas};
  }
  bool has_own_outputs(const StrategyLayer& layer) const;
  at::Tensor outputs_of(std::int64_t outputs, std::int64_t task) const;  // bool [outputs]
  // These weights, bool, begin anew at zero, as weights do that are new to the topology.
  static void begin_anew(Parameter& parameter, std::int64_t r, const at::Tensor& which);

 private:
  struct Resting {
    at::Tensor owner;
    std::int64_t version = 0;
    std::vector<std::int64_t> trained;
    at::Tensor changing;  // uint8 beside the parameter's values; undefined: all change
  };
  const Resting& resting(std::size_t p);
  at::Tensor changing(std::size_t p) const;  // bool beside the parameter's values

  std::string name_;  // of the strategy, and the first word of what it keeps
  std::int64_t task_ = 1;
  at::Tensor outputs_;                       // of the task, within it
  at::Tensor trained_;                       // [R] on the device
  std::vector<std::int64_t> host_;           // the same
  std::vector<Resting> resting_;             // by parameter, on a CPU
  std::vector<at::Tensor> before_, shares_;  // within a step, by parameter
};

// Of these, what gives a task its weights once: before the last share of its steps, in which it
// trains these alone (`retrain_share`), or at its end.
class SettledWeights : public IsolatedWeights {
 public:
  using IsolatedWeights::IsolatedWeights;

  std::int64_t turn_at(std::int64_t r, std::int64_t steps) const override;
  void turn(const std::vector<char>& due) override;
  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override;

 private:
  // The task takes in replica r what is its own from now on.
  virtual void settle(std::int64_t r) = 0;
};

}  // namespace tandem
