// The batches of a group: its data set and tasks, which examples each step of a replica takes, and
// the tensors that they become on the device.
//
// Shapes: R replicas (runs of the group), B examples per replica, F features, T tokens, N rows of
// logits (B, or B T), C outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "continual/strategy.h"
#include "data/dataset.h"
#include "data/gather.h"
#include "data/sampler.h"

namespace tandem {

// A batch on the device.
struct Batch {
  at::Tensor x;       // float [R,B,F] or int64 [R,B,T]
  at::Tensor target;  // int64 [R,N]
  at::Tensor weight;  // [R,N]; undefined where every example counts, and every row of it
  at::Tensor asked;   // int64 [R,M], rows that are asked, as many of each example; undefined: all
  // bool [R,N], rows whose target belongs to their document, any number of each example; undefined:
  // all. Rows that don't count have no weight.
  at::Tensor counted;
  at::Tensor allowed;  // bool [R,N,C]; undefined where all outputs take part
  // What each row's cross-entropy counts in the loss, [R,N]; undefined: the mean over what weighs.
  at::Tensor share;
  at::Tensor mean;  // [R,N], see StepView::mean; undefined: roles are not apart
};

// Of what passes at once: entries begin, begin + 1, ... of each list, so many or as it has.
std::vector<std::vector<std::int64_t>> part_of(const std::vector<std::vector<std::int64_t>>& lists,
                                               std::size_t begin, std::size_t count);

class Batches {
 public:
  // Loads the data set that the configs name and cuts it into each run's tasks.
  Batches(const std::vector<Config>& configs, at::Device device, at::ScalarType dtype);

  std::int64_t replicas() const { return static_cast<std::int64_t>(sequences_.size()); }
  const Dataset& data() const { return *data_; }
  const DeviceDataset& device_data() const { return device_data_; }
  const TaskSequence& tasks(std::int64_t r) const {
    return sequences_[static_cast<std::size_t>(r)];
  }
  const std::vector<TaskSequence>& sequences() const { return sequences_; }
  bool windows() const { return data_->windows(); }
  // What the loss sees in training.
  OutputsOf trained_outputs() const { return sequences_.front().trained; }
  // How many outputs the loss sees of replica r's row of an example of `task` (from 1).
  std::int64_t trained_outputs_of(std::int64_t r, std::int64_t task) const;
  std::int64_t filler() const;  // the example that stands where a replica has none

  // `steps` [R][stages] are the lengths of all stages.
  void begin_stage(std::int64_t stage, StageData kind,
                   const std::vector<std::vector<std::int64_t>>& steps);
  // All examples of replica r's stage; of a byte corpus windows side by side.
  std::vector<std::int64_t> of_stage(std::int64_t r) const;
  // Replica r's own examples of a step of the stage; the sampler goes on from step to step.
  // With `blur` b there is a switch between two stages of S steps or more on both of whose sides K
  // = floor(b S) steps mix: the d-th step before it and the d-th after it, d from 0, have their
  // i-th examples exchanged with probability (1 - (d + 1/2) / K) / 2, so that in all each example
  // is seen as often as without.
  std::vector<std::int64_t> of_step(std::int64_t r, std::int64_t in_stage);
  // Examples beside the training stream, for topology update `update`: batch `number` of the run's
  // stream "growth", keyed by the update, uniform with replacement from what the stage trains on.
  std::vector<std::int64_t> beside(std::int64_t r, std::int64_t update, std::int64_t number) const;

  // Tensors of examples (data/example.h), int64 [R,B] on the device, and their weights [R,B] or
  // undefined; `outputs` are those that take part, of the stage that has begun last. Windows of a
  // byte corpus are `multiple` times as long as the configs' context.
  Batch gather(const at::Tensor& examples, const at::Tensor& weight, OutputsOf outputs,
               std::int64_t multiple = 1) const;
  // A number per example [R,W] at each of its rows [R,N].
  at::Tensor over_rows(const at::Tensor& per_example, std::int64_t multiple = 1) const;
  // The same of [R] lists of equal or shorter length than `width`; shorter ones are padded with
  // weight 0.
  Batch make(const std::vector<std::vector<std::int64_t>>& examples, std::int64_t width,
             OutputsOf outputs, std::int64_t multiple = 1) const;
  // Of one list that all replicas see.
  Batch make_for_all(const std::vector<std::int64_t>& examples, std::int64_t width,
                     OutputsOf outputs, std::int64_t multiple = 1) const;

 private:
  void share_lists();
  void make_tables();
  Batch gather_packed_windows(const at::Tensor& examples, const at::Tensor& weight,
                              std::int64_t multiple) const;
  void make_token_tables();
  Batch gather_asked(const at::Tensor& examples, const at::Tensor& weight) const;
  void begin_tasks(std::int64_t last);
  // Windows of replica r as examples of their tasks.
  std::vector<std::int64_t> as_examples(std::int64_t r, std::vector<std::int64_t> starts) const;

  std::vector<Config> configs_;
  at::Device device_;
  at::ScalarType dtype_;
  std::shared_ptr<const Dataset> data_;
  DeviceDataset device_data_;
  std::vector<TaskSequence> sequences_;
  // By run, task (0: that of the class) and class.
  at::Tensor target_table_;   // int64 [R * (tasks + 1) * classes]; undefined: identity
  at::Tensor allowed_table_;  // bool [R * (tasks + 1) * classes, C]; undefined: all
  // bool [R,1,C], of the tasks that have begun; it stays where it is, as a captured step reads it.
  at::Tensor seen_;
  DeviceViews views_;
  DeviceAngles angles_;
  at::Tensor tokens_;  // int64 [R tasks, C] of tasks with tokens of their own; undefined: none have
  // What a replica draws its batches of a stage from.
  struct Source {
    std::vector<std::int64_t> examples;   // none of a byte corpus
    std::optional<WindowStarts> windows;  // of it
    std::optional<EpochSampler> epochs;
    std::optional<ByteSampler> bytes;
    std::int64_t steps = 0;
  };
  Source source_of(std::int64_t r, std::int64_t stage, StageData kind, std::int64_t steps) const;
  std::vector<std::int64_t> drawn(std::int64_t r, Source& source, std::int64_t in_stage) const;
  void exchange(std::int64_t r, std::int64_t in_stage, std::vector<std::int64_t>& own);

  std::int64_t stage_ = 0;
  std::vector<Source> sources_;         // [R] of the current stage
  std::vector<Source> before_, after_;  // [R] of its neighbours where they mix; empty: none
};

}  // namespace tandem
