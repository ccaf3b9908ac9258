// A group of replicas in training: network, optimizer, topology, data order and strategy, and the
// one step that all methods share. It knows policies, never a method's name.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "continual/strategy.h"
#include "data/dataset.h"
#include "data/gather.h"
#include "data/sampler.h"
#include "nn/model.h"
#include "topology/topology_update.h"
#include "train/flops.h"
#include "train/optimizer.h"
#include "train/plan.h"

namespace tandem {

struct TrainerOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

// A batch on the device.
struct Batch {
  at::Tensor x;        // float [R,B,F] or int64 [R,B,T]
  at::Tensor target;   // int64 [R,N], N = B or B T
  at::Tensor weight;   // [R,N]; undefined where every example counts
  at::Tensor allowed;  // bool [R,N,C]; undefined where all outputs take part
};

// What a step reports to the host.
struct StepReport {
  std::vector<double> loss;       // [R] task loss of the running stream
  std::vector<double> alignment;  // [R] alignment term with its coefficients; 0 where there is none
  std::vector<double> gradient_norm;  // [R] before clipping; 0 where nothing clips
  std::vector<char> newly_diverged;   // [R]
  std::vector<char> updated;          // [R] a topology update took place
  std::vector<UpdateCounts> updates;  // per layer, where any replica updated
};

class Trainer {
 public:
  Trainer(const std::vector<Config>& configs, const TrainerOptions& options);
  ~Trainer();

  std::int64_t replicas() const { return static_cast<std::int64_t>(runs_.size()); }
  std::int64_t stages() const { return static_cast<std::int64_t>(stage_count_); }
  std::int64_t stage_steps(std::int64_t stage) const;  // of the longest replica
  const RunSchedule& run(std::int64_t r) const { return runs_[static_cast<std::size_t>(r)]; }
  const TaskSequence& tasks(std::int64_t r) const {
    return sequences_[static_cast<std::size_t>(r)];
  }
  const Dataset& data() const { return *data_; }
  const DeviceDataset& device_data() const { return device_data_; }
  at::Device device() const { return options_.device; }
  Model& model() { return *model_; }
  const Model& model() const { return *model_; }
  FlopsLedger& flops() { return *flops_; }
  bool diverged(std::int64_t r) const { return diverged_[static_cast<std::size_t>(r)] != 0; }
  // Every parameter of a replica is finite; one that is not is to be marked diverged.
  bool finite(std::int64_t r);
  void mark_diverged(std::int64_t r) { diverged_[static_cast<std::size_t>(r)] = 1; }
  std::int64_t updates_of(std::int64_t r) const { return counts_[static_cast<std::size_t>(r)]; }

  // Told of every layer's mask before and after each topology update, as host flags [n].
  using UpdateWatcher = std::function<void(std::int64_t replica, const std::string& layer,
                                           const std::vector<std::uint8_t>& before,
                                           const std::vector<std::uint8_t>& after)>;
  void watch_updates(UpdateWatcher watcher) { watcher_ = std::move(watcher); }

  void begin_stage(std::int64_t stage);
  // Name of a layer in UpdateCounts.
  const std::string& layer_name(std::size_t layer) const { return layers_[layer].name; }

  StepReport step(std::int64_t stage, std::int64_t in_stage);
  void end_stage(std::int64_t stage);

  // Batch of given examples, [R] lists of equal or shorter length than `width`; shorter ones are
  // padded with weight 0. `masked`: the loss sees only the outputs of each example's task.
  Batch make_batch(const std::vector<std::vector<std::int64_t>>& examples, std::int64_t width,
                   bool masked) const;

  // State of replica r as named CPU tensors ("parameter/NAME", "slot/NAME/SLOT", "mask/NAME",
  // "strategy/NAME") and counters; loading restores training bit for bit.
  std::vector<std::pair<std::string, at::Tensor>> save(std::int64_t r) const;
  void load(std::int64_t r, const std::vector<std::pair<std::string, at::Tensor>>& tensors);

 private:
  void build_tasks();
  void build_network();
  void start_topology();
  void scale_initial_weights(Linear& layer);
  std::vector<std::vector<std::uint8_t>> host_flags(std::size_t layer,
                                                    const std::vector<char>& due) const;
  std::vector<std::vector<std::int64_t>> next_examples(std::int64_t stage, std::int64_t in_stage,
                                                       const std::vector<ReplicaPlan>& plans);
  void level_plans(const std::vector<ReplicaPlan>& plans, std::vector<LevelPlan>& attention,
                   std::vector<LevelPlan>& weights, std::vector<at::Tensor>& loss_weights) const;
  StepReport forward_backward(const Batch& batch, const std::vector<ReplicaPlan>& plans);
  void optimizer_step(const std::vector<ReplicaPlan>& plans, StepReport& report);
  void update_topology(const std::vector<ReplicaPlan>& plans, bool instead, StepReport& report);

  TrainerOptions options_;
  std::vector<RunSchedule> runs_;
  std::shared_ptr<const Dataset> data_;
  DeviceDataset device_data_;
  std::vector<TaskSequence> sequences_;
  std::int64_t stage_count_ = 1;
  bool joined_ = false;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Strategy> strategy_;
  std::vector<LayerShape> layers_;  // of model_->linears()
  std::unique_ptr<TopologyUpdater> topology_;
  std::unique_ptr<FlopsLedger> flops_;
  std::vector<std::unique_ptr<EpochSampler>> epoch_samplers_;  // [R] of the current stage
  std::vector<std::unique_ptr<ByteSampler>> byte_samplers_;
  std::vector<std::vector<std::int64_t>> stage_examples_;  // [R] of the current stage
  at::Tensor target_table_;   // int64 [R * classes]; undefined: identity
  at::Tensor allowed_table_;  // bool [R * classes, C]
  UpdateWatcher watcher_;
  std::vector<char> diverged_;
  std::vector<std::int64_t> counts_;  // optimizer updates per replica
};

}  // namespace tandem
