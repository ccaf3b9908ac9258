// A strategy is what is done against forgetting. One object serves a group of R replicas; a hook
// that a strategy does not override costs nothing. Order within a run: before_task, then per step
// batch and numbers, choose, enter, role_weights, outputs, loss, remember, gradient, after_update,
// then after_task; turn, once within a task where a strategy wants one; and topology_moved, after
// each update of the topology.
//
// It says once, in needs(), what the step must have for it. State that belongs to a weight lives in
// slots of its parameter named STRATEGY.WHAT (topology updates move it, checkpoints keep it, and by
// the name it is known what the strategy keeps); everything else goes through parameters of its
// own, save and load. On a GPU what lies from choose to after_update is part of the captured step:
// no host branch on a tensor there, and what they do may change from task to task only; batch and
// numbers of some steps precede what is done on the device in these.
//
// Rows of a step have roles: role 0 is the current examples, role i + 1 the i-th replay.
//
// Shapes: R replicas (runs of the group), W rows of a replica's batch, N rows of logits (W, or W
// times tokens), C outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "continual/scenario.h"
#include "topology/initial_weights.h"
#include "topology/parameter.h"

namespace tandem {

// A row of a replica's batch, as the host decides it.
struct BatchRow {
  std::int64_t example = 0;  // with its task (data/example.h)
  std::int64_t place = -1;   // in the strategy's memory, that it came from; -1: none
  std::int64_t enters = -1;  // the place that it is kept at by this step; -1: it is not kept
};

// What a stage of a run trains on (plan/stages.h).
enum class StageData {
  kOwnTask,   // its task
  kAllTasks,  // there is one stage, on all tasks; they are evaluated one by one
  kSoFar,     // its task and all before it
  kMemory,    // of these at most `buffer` examples, as balanced over classes as the stream allows
};

// What a step must have for a strategy.
struct StrategyNeeds {
  StageData stage = StageData::kOwnTask;
  // Each stage begins with the network and topology of the run's start. The strategy's file says so
  // to the views as well, by declare_begins_afresh().
  bool fresh_start = false;
  struct Replay {
    std::int64_t rows = 0;  // the most that a step may have
    bool in_batch = true;   // no: its rows are beside the step's own batch, for of_replay()
    // Its rows are the best of the last replay's, which is beside the batch, by choose().
    bool chosen = false;
  };
  std::vector<Replay> replays = {};
  // Each role has columns of its own, and its mean is known (StepView::mean), so that roles can
  // count differently. No: the loss is one mean over all rows, whatever their role.
  bool roles = false;
  bool places = false;  // BatchRow::place and enters are wanted on the device (StepView)
  // Nets beside the run's own, each a copy of it that is taken at a task's end.
  std::int64_t snapshots = 0;
  // Forward passes without gradient, per current example once a task has ended, and per replayed
  // one of the batch.
  double passed_rows = 0, passed_replayed = 0;
  bool looks_back = false;        // does nothing before a first task has ended
  std::int64_t least_buffer = 0;  // with fewer examples it does nothing
  // Weights of finished tasks stay what they are, one by one (Slot::holds). What moves blocks of
  // weights, budgets or whole-net rankings can't go with it (policy/run_rules).
  bool holds_weights = false;
  // It asks for the values that weights began the run with (StrategyLayer::initial) later on too.
  bool first_values = false;
  bool weights_rest = false;  // toward a task's end the free ones do not change, nor does topology
  bool within_mask = false;   // it computes with active weights alone, in each stream
  // enter() puts other values in the place of the weights'; hidden units are gated, or belong to
  // tasks, so that each layer must read what the one before it writes.
  bool replaces_values = false, gates_units = false;
  // How the trained net is read, which is the name of the read-out's net: as it is; each task
  // through a net of its own, so that whoever reads must know the task; through averages of
  // weights; by which class has the nearest mean of the last hidden features, over exemplars() of
  // it.
  enum class Read { kAsItIs, kTask, kAverage, kNearestMean } read = Read::kAsItIs;
  bool own_outputs = false;  // each class of each task must have an output of its own
  // A gradient of each output of each row: more than the tokens of a window could have.
  bool exact_fisher = false;
  std::int64_t numbers = 0;  // of a step, that the host decides: StepView::numbers
};

// Where in its run a replica's step is, all counted from 0.
struct StepPlace {
  std::int64_t step = 0;     // of the run
  std::int64_t in_task = 0;  // of the task, or of what else is trained at once
  std::int64_t epoch_steps = 1;
};

// The columns of a role.
struct RoleColumns {
  std::int64_t first = 0, count = 0;
};

// One forward pass of a step as a strategy sees it.
struct StepView {
  at::Tensor x;        // of the batch: float [R,W,F] or int64 [R,W,T]
  at::Tensor logits;   // [R,N,C]; in loss() differentiable
  at::Tensor target;   // int64 [R,N]
  at::Tensor allowed;  // bool [R,N,C], the outputs that the loss sees of each row; undefined: all
  // Where roles are wanted: 1/n for each of the n rows that a replica has of the column's role, 0
  // where the row is padding, [R,N]; so that a weighted sum over a role's columns is its mean.
  at::Tensor mean;
  at::Tensor place, enters;  // int64 [R,W]; -1: none. Where places are wanted
  at::Tensor numbers;        // double [R, needs().numbers], of Strategy::numbers()
  std::vector<RoleColumns> roles;
  std::int64_t rows_per_example = 1;  // N / W

  // Columns of a role of a tensor over rows of logits.
  at::Tensor of(std::size_t role, const at::Tensor& over_rows) const {
    const RoleColumns& own = roles.at(role);
    return over_rows.narrow(1, own.first * rows_per_example, own.count * rows_per_example);
  }
};

// The gradients of a step, before they are clipped. Tensors over all weights of a parameter, beside
// Parameter::flat().
class StepGradients {
 public:
  virtual ~StepGradients() = default;

  // S * G of each parameter that has a gradient, else undefined: what the optimizer will take.
  virtual std::vector<at::Tensor> masked() const = 0;
  // Puts others in their place; what they are outside of S does not count.
  virtual void replace(const std::vector<at::Tensor>& gradients) = 0;
  // Adds factor [R] times importance (w - center), beside Parameter::flat(), to the gradient of a
  // parameter, and returns the sum of importance (w - center)^2 of each replica, double [R].
  virtual at::Tensor add_pull(std::size_t parameter, const at::Tensor& center,
                              const at::Tensor& importance, const at::Tensor& factor) = 0;
  // Of a parameter's weights only these, uint8 beside Parameter::flat(), may change in this step,
  // with all that the optimizer keeps of them; no other gradient counts.
  virtual void change_only(std::size_t parameter, const at::Tensor& which) = 0;
  // path += along (before - after) of a parameter's weights in this step's update, all beside
  // Parameter::flat().
  virtual void follow(std::size_t parameter, const at::Tensor& along, const at::Tensor& path) = 0;
  // S * G of the mean task loss over the rows of a replay that is beside the batch, at the weights
  // that the step began with, and of which replicas had any such rows, bool [R].
  virtual std::pair<std::vector<at::Tensor>, at::Tensor> of_replay(std::size_t replay) = 0;
};

// What rows of a replay may be chosen by, before the step's own passes.
class StepChoice {
 public:
  virtual ~StepChoice() = default;
  // The task loss of each candidate, [R,N], at the step's weights, and after a plain gradient step
  // of the step's learning rate on the current examples alone. Without gradient.
  virtual at::Tensor losses() const = 0;
  virtual at::Tensor losses_after_step() const = 0;
};

// Which gradients make a weight's importance.
enum class Importance {
  kFisher,           // mean over examples of sum_c p_c (d log p_c / dw)^2
  kEmpiricalFisher,  // mean over examples of (d log p_label / dw)^2
  kOutputNorm,       // mean over examples of |d (sum_c f_c^2) / dw|, f the outputs
};

// What a strategy may ask of its trainer.
class StrategyServices {
 public:
  virtual ~StrategyServices() = default;

  // Importances of all weights at the present ones, in the stream that the method trains, over
  // examples [R][n]; by parameter, beside Parameter::flat(). Outputs of other tasks than the
  // example's take no part where the scenario trains without them. Charged to the ledger.
  virtual std::vector<at::Tensor> importances(
      const std::vector<std::vector<std::int64_t>>& examples, Importance kind) = 0;
  // Makes snapshot i (needs().snapshots) the run's net as it is now, in the stream that the method
  // trains.
  virtual void take_snapshot(std::size_t i) = 0;
  // The last hidden features of examples [R][n] in the stream that the method trains: [R] of [n,H],
  // on the CPU. Charged to the ledger.
  virtual std::vector<at::Tensor> features(
      const std::vector<std::vector<std::int64_t>>& examples) = 0;
  // Its outputs [R,N,C], without gradient. May be called inside of a captured step.
  virtual at::Tensor snapshot_logits(std::size_t i, const at::Tensor& x) = 0;
  // The same of the net with other values in place of its parameters', beside Parameter::flat(),
  // with the topology that it has now and in the stream that the step runs. Within a step alone.
  virtual at::Tensor logits_with(const std::vector<at::Tensor>& values, const at::Tensor& x) = 0;
};

// A linear layer of the model, in the order of the network: places in StrategyView::parameters.
struct StrategyLayer {
  std::size_t weight = 0;
  std::int64_t bias = -1;  // none
  std::int64_t inputs = 0, outputs = 0;
  bool makes_logits = false;                // its outputs are those of the tasks
  const InitialWeights* initial = nullptr;  // what its weights begin the run with
};

struct StrategyView {  // what a strategy may look at
  std::int64_t replicas = 1;
  std::vector<Config> configs;          // [R]
  std::vector<TaskSequence> sequences;  // [R]
  std::vector<Parameter*> parameters;   // of the model
  std::vector<StrategyLayer> layers = {};
  at::TensorOptions options = {};  // device and type of the network's values
  StrategyServices* services = nullptr;
  std::function<std::int64_t(std::int64_t example)> class_of = {};  // of the data set
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

class Strategy {
 public:
  explicit Strategy(StrategyView view) : view_(std::move(view)) {}
  virtual ~Strategy() = default;

  virtual StrategyNeeds needs() const { return {}; }

  // Replica r is about to learn `current` at its step `step` of the run, counted from 0. Appends
  // the rows of each replay, at most as many as needs() says, and may say where current rows enter.
  // Replicas may ask side by side, from several threads: what it changes is r's own. So may
  // numbers().
  virtual void batch(std::int64_t /*r*/, std::int64_t /*step*/, std::vector<BatchRow>& /*current*/,
                     std::vector<std::vector<BatchRow>>& /*replays*/) {}

  // The numbers of a step, needs().numbers of them, which are 0 at first and stay so where the
  // replica rests.
  virtual void numbers(std::int64_t /*r*/, const StepPlace& /*place*/, double* /*own*/) {}

  // The task is about to begin, or, `resumed`, to go on from a checkpoint.
  virtual void before_task(std::int64_t /*task*/, bool /*resumed*/) {}
  // The task has ended; `examples` [R] are those it trained on.
  virtual void after_task(std::int64_t /*task*/,
                          const std::vector<std::vector<std::int64_t>>& /*examples*/) {}

  // Parameters of its own, with the replica axis first, that the optimizer moves with the model's.
  virtual std::vector<Parameter*> parameters() { return {}; }
  // Before the passes of a step, with its numbers: may put other values in the place of the model's
  // parameters', which the step's losses and gradients are then of, and which gradient() takes
  // back.
  virtual void enter(const at::Tensor& /*numbers*/) {}
  // Where roles are wanted: how much the mean of each role's cross-entropies counts in the task
  // loss, [R, roles]; undefined: 1 each. What stays alike must stay where it is within a task. The
  // view is of the batch, without logits.
  virtual at::Tensor role_weights(const StepView& /*view*/) const { return {}; }
  // The outputs that take part in the softmax of each row, bool [R,N,C], in place of view.allowed;
  // undefined: those.
  virtual at::Tensor outputs(const StepView& /*view*/) { return {}; }
  // A term of the loss per replica [R], in each pass that learns, or nothing (undefined).
  virtual at::Tensor loss(const StepView& /*view*/) { return {}; }
  // Where rows are chosen: scores of the candidates, [R,N]; the largest are taken.
  virtual at::Tensor choose(const StepChoice& /*step*/) { return {}; }
  // Once all gradients of the step are taken, with the outputs of the stream that learns where
  // places are wanted (else without logits), without gradient.
  virtual void remember(const StepView& /*view*/) {}
  // The gradient of a replay beside the batch is wanted in this task's steps.
  virtual bool wants_reference(std::size_t /*replay*/) const { return true; }
  // May change the gradients, once a step: not in each pass that learns, nor at the weights to
  // which a method moves for its gradient. Criteria of topology read them as they were. Returns
  // what the loss is more by, double [R], where it adds the gradient of a term that loss() has not;
  // or nothing.
  virtual at::Tensor gradient(StepGradients& /*gradients*/) { return {}; }
  // The optimizer has moved the weights.
  virtual void after_update() {}

  // An update has moved the topology of these replicas [R], between steps.
  virtual void topology_moved(const std::vector<char>& /*which*/) {}

  // The step of its task, from 0, before which the strategy wants a turn of its own with replica r
  // between steps; -1: none. `steps`: those of the task.
  virtual std::int64_t turn_at(std::int64_t /*r*/, std::int64_t /*steps*/) const { return -1; }
  // The turn of these replicas [R]. Not part of a captured step.
  virtual void turn(const std::vector<char>& /*due*/) {}

  // Where the net is not read as it is: the values of a parameter that it is read with, beside
  // Parameter::flat(), of the net of `task` where each has its own; undefined: as they are.
  virtual at::Tensor read_values(std::size_t /*parameter*/, std::int64_t /*task*/) const {
    return {};
  }

  // Where the net is read by the nearest mean: the examples that it is taken over, by output; none
  // of an output that was not trained.
  virtual std::vector<std::vector<std::int64_t>> exemplars(std::int64_t /*r*/) const { return {}; }
  // How many examples it holds of what replica r has seen.
  virtual std::int64_t examples_held(std::int64_t /*r*/) const { return 0; }

  // State of replica r outside of slots, on the CPU.
  virtual NamedTensors save(std::int64_t /*r*/) const { return {}; }
  virtual void load(std::int64_t /*r*/, const std::string& name, const at::Tensor& /*values*/);

 protected:
  StrategyView view_;
};

using StrategyFactory = std::unique_ptr<Strategy> (*)(StrategyView);
Registry<StrategyFactory>& strategies();

// Int64 tensors of lists and back, for save and load.
at::Tensor integers_tensor(const std::vector<std::int64_t>& values);
std::vector<std::int64_t> integers_in(const at::Tensor& values);

// Features [n,H] in double precision, each divided by its norm (0 stays 0).
at::Tensor unit_features(const at::Tensor& features);

// A number per replica on the network's device, [R].
at::Tensor per_replica(const StrategyView& view,
                       const std::function<double(const Config&)>& number);

// Throws StoreError: a checkpoint's part `name` is not what the strategy expects.
[[noreturn]] void refuse_state(const std::string& strategy, const std::string& name,
                               const at::Tensor& values, const std::string& expected);

}  // namespace tandem
