// The probes of a group: which, on what batches, what they cost, and their memory in checkpoints.
// Nothing here changes training: no random stream is drawn from, and gradients are taken beside the
// step's own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "probes/probe.h"
#include "store/rows.h"
#include "train/trainer.h"

namespace tandem {

class GroupProbes {
 public:
  // `trainer` must outlive this and stand before its first step. Families that read dense weights
  // are left out where layers are too large to copy, which the check before the run has said;
  // ConfigError where the runs ask for what reads them (see check_dense_readers).
  explicit GroupProbes(Trainer& trainer);

  struct Moment {
    std::int64_t stage = 0, in_stage = 0;  // steps of the stage taken so far
    std::vector<char> wanted;              // [R]
    bool last = false;                     // of the run
    bool task_ends = false;  // the stage is over; before the last, for families that look at this
  };
  // Rows of the replicas that are wanted, [R].
  std::vector<std::vector<MetricRow>> measure(const Moment& moment);

  bool watches_before_updates() const;
  void before_update(std::int64_t stage, const std::vector<char>& due);
  void after_update(const MaskChange& change);

  double seconds() const;  // of all families, since the run began
  // The part of them that before_update() took since this was last asked.
  double take_seconds_in_updates() { return std::exchange(in_updates_s_, 0); }
  // One row probe_seconds per family: a replica's share of the group's.
  std::vector<MetricRow> cost_rows(std::int64_t r) const;

  // Memory of a replica as int64 tensors "probe/FAMILY/KEY" and others "probe_tensor/FAMILY/KEY",
  // and the seconds so far.
  std::vector<std::pair<std::string, at::Tensor>> save(std::int64_t r) const;
  void load(std::int64_t r, const std::vector<std::pair<std::string, at::Tensor>>& tensors);
  const std::map<std::string, double>& seconds_by_family() const { return seconds_; }
  void set_seconds(std::map<std::string, double> seconds) { seconds_ = std::move(seconds); }

 private:
  ProbeInput input_at(std::int64_t stage);
  void tell_tasks(std::int64_t stage, ProbeInput& input);
  std::vector<Measurements> measure_all(const ProbeInput& input);  // beside probes_
  const Batch& validation_batch();
  TrainingPart training_part(std::int64_t stage, std::int64_t part) const;
  AskedPart asked_part(std::int64_t part, std::int64_t tasks) const;
  std::int64_t last_dense_step(const Moment& moment, std::int64_t r, std::size_t layer) const;

  Trainer& trainer_;
  std::vector<ReadoutRun> runs_;
  std::vector<NamedProbe> probes_;
  std::optional<Batch> batch_;
  std::map<std::string, double> seconds_;
  double in_updates_s_ = 0;
};

}  // namespace tandem
