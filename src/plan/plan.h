// The plan of a step: everything about it that does not come from tensors, a pure function of
// (configs, tasks, step). Replicas may be at different steps of their own runs: a task lasts as
// long as the longest of them, the others idle.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "policy/demands.h"
#include "policy/policy.h"

namespace tandem {

// Lengths of a run's tasks in steps, and how its steps map to epochs.
struct Timeline {
  std::vector<std::int64_t> task_steps;       // own steps of each trained stage
  std::vector<std::int64_t> steps_per_epoch;  // of each stage
  std::int64_t total() const;
  std::int64_t before(std::int64_t stage) const;  // own steps of earlier stages
};
// From the number of training examples of each stage; `steps` > 0 overrides epochs.
Timeline make_timeline(const Config& config, const std::vector<std::int64_t>& examples,
                       std::int64_t tasks_in_stage = 1);

// Layers of a level may draw streams of their own up to this many: their bits travel as one double.
constexpr std::int64_t kMostDrawingLayers = 52;

// What the schedules say of one level of a replica at one step.
struct LevelStep {
  bool full = true;               // the stream that runs
  double alpha = 0;               // of its alignment at this step
  std::uint64_t full_layers = 0;  // bit l: layer l's own draw is the full stream
};

// What the schedules say of one replica at one step.
struct ReplicaPlan {
  bool runs = true;       // false: idle or diverged, nothing of it changes
  std::int64_t step = 0;  // of its run, from 0
  double lr = 0;
  PerLevel<LevelStep> levels;
  std::int64_t nested = 0;       // which of the nested masks the sparse stream uses
  bool update_instead = false;   // a topology update takes the place of this step
  bool update_after = false;     // a topology update follows this step
  double topology_progress = 0;  // of [begin,end], for the drop fraction and the budget
  bool logged = true;            // the update is reported
  bool enters_full = false;      // after this step a full phase begins,
  bool enters_sparse = false;    // or a sparse one

  bool updates() const { return runs && (update_instead || update_after); }
};
bool any_updates(const std::vector<ReplicaPlan>& plans);

// Learning rate over the steps of a task; options lr, lr_schedule and their like, read once.
class LearningRate {
 public:
  explicit LearningRate(const Config& config);
  double at(std::int64_t stage, std::int64_t step, std::int64_t steps) const;

 private:
  enum class Kind { kConstant, kStep, kCosine };
  double in_task(std::int64_t step, std::int64_t steps) const;
  Kind kind_;
  double base_, final_, factor_;
  std::int64_t warmup_;
  std::vector<double> step_at_, of_task_;
};

struct RunSchedule {
  Config config;
  PerLevel<Policies> policies;
  PerLevel<Demands> demands;
  Timeline timeline;
  LearningRate rate;
  PerLevel<std::uint64_t> draw_keys;  // of the streams' draws

  RunSchedule(Config resolved, PerLevel<Policies> of_levels, Timeline lengths = {});
};

// Probability that the full stream runs at a step of `total`, where streams are drawn.
double full_probability(const Schedule& schedule, std::int64_t step, std::int64_t total);

// After so many of its steps the run is in a full phase: all weights train, and its mask is a past
// phase's. A sparse phase begins with its pruning, at the end of the step before.
bool in_full_phase(const RunSchedule& run, std::int64_t steps);

// Plan of replica `run` at step `in_stage` (from 0) of trained stage `stage` (from 0).
ReplicaPlan plan_replica(const RunSchedule& run, std::int64_t stage, std::int64_t in_stage);

}  // namespace tandem
