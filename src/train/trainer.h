// A group of replicas in training: network, optimizer, topology, data order and strategy, and the
// one step that all methods share. It knows policies, never a method's name.
//
// A step is planned on the host and needs nothing else of it: on a GPU the steps of one kind are
// one captured graph, plans are uploaded some steps ahead, and what a step leaves (losses, counts,
// which replicas still live) stays on the device until somebody asks.
#pragma once

#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "continual/strategy.h"
#include "cuda/graph.h"
#include "nn/initial_net.h"
#include "nn/model.h"
#include "plan/flops.h"
#include "plan/plan.h"
#include "plan/stages.h"
#include "topology/storage.h"
#include "topology/topology_update.h"
#include "train/batches.h"
#include "train/optimizer.h"
#include "train/step_tables.h"

namespace tandem {

struct TrainerOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  std::vector<Storage> storage =
      {};  // of each linear layer; empty: as the config says, auto masked
  // [R], or empty: the nets that runs begin with, which must fit; null: weights are drawn.
  std::vector<std::shared_ptr<const InitialNet>> initial = {};
};

// What a step computes, apart from numbers. Steps of one kind share a captured graph.
struct StepKind {
  struct Streams {
    StreamsWanted wanted = StreamsWanted::kFull;
    RunningStream running = RunningStream::kFull;
    bool aligns = false;
    auto operator<=>(const Streams&) const = default;
  };
  PerLevel<Streams> streams;
  std::string masked;           // per layer, whether it has dormant weights
  bool records_inputs = false;  // for a criterion that reads them
  auto operator<=>(const StepKind&) const = default;
};

// What some steps report to the host.
struct StepReport {
  std::int64_t steps = 0;             // taken
  std::vector<char> updated;          // [R] a topology update that is logged took place
  std::vector<UpdateCounts> updates;  // per layer, where any is logged
};

class Trainer {
 public:
  Trainer(const std::vector<Config>& configs, const TrainerOptions& options);
  ~Trainer();

  std::int64_t replicas() const { return static_cast<std::int64_t>(runs_.size()); }
  std::int64_t stages() const { return static_cast<std::int64_t>(stage_count_); }
  std::int64_t stage_steps(std::int64_t stage) const;  // of the longest replica
  // What all replicas share, which agree in kind; numbers are each run's own.
  const Policies& policies(Level level = Level::kWeights) const {
    return runs_.front().policies[level];
  }
  const Demands& demands(Level level = Level::kWeights) const {
    return runs_.front().demands[level];
  }
  const RunSchedule& run(std::int64_t r) const { return runs_[static_cast<std::size_t>(r)]; }
  const Batches& batches() const { return batches_; }
  const TaskSequence& tasks(std::int64_t r) const { return batches_.tasks(r); }
  const Dataset& data() const { return batches_.data(); }
  at::Device device() const { return options_.device; }
  Model& model() { return *model_; }
  const Model& model() const { return *model_; }
  FlopsLedger& flops() {
    state(0);  // so that all steps are charged
    return *flops_;
  }
  // Each waits for the steps that are under way.
  bool diverged(std::int64_t r) const { return state(r).alive == 0; }
  std::int64_t updates_of(std::int64_t r) const {
    return static_cast<std::int64_t>(state(r).updates);
  }
  std::int64_t steps_of(std::int64_t r) const { return static_cast<std::int64_t>(state(r).steps); }
  const kernels::ReplicaState& state(std::int64_t r) const;
  void clear_losses(const std::vector<char>& which);  // of their states, once they are logged
  void mark_diverged(std::int64_t r);
  // Whether every parameter is finite, [R]; a replica where one is not is to be marked diverged.
  std::vector<char> finite() const;
  // A run that nobody wants any more: it stands still from now on.
  void freeze(std::int64_t r) { frozen_[static_cast<std::size_t>(r)] = 1; }
  // It asks for what runs began with after they have begun, so that who resumes one must give its
  // net again.
  bool asks_for_start() const { return needs_.fresh_start || needs_.first_values; }
  bool frozen(std::int64_t r) const { return frozen_[static_cast<std::size_t>(r)] != 0; }
  void synchronize() const;

  // `resumed`: it goes on from what load() restored.
  void begin_stage(std::int64_t stage, bool resumed = false);
  // Shapes of the model's linear layers; UpdateCounts counts along them.
  const std::vector<LayerShape>& layers() const { return layers_; }

  // Takes steps `in_stage` and on of a stage: at least one, at most `most`; a topology update ends
  // them. Several at once are taken on a GPU only, where they are queued and not waited for.
  StepReport advance(std::int64_t stage, std::int64_t in_stage, std::int64_t most);
  void end_stage(std::int64_t stage);
  // How the net is read, and while a ReadNet lives the model is that net: of a task, numbered from
  // 1, where each has its own.
  StrategyNeeds::Read read() const { return needs_.read; }
  class ReadNet;
  // Where it is read by the nearest mean: the examples of each output of a replica.
  std::vector<std::vector<std::int64_t>> exemplars(std::int64_t r) const {
    return strategy_->exemplars(r);
  }
  // What the last linear layer reads of a batch, [R,N,H], in a forward pass with this context.
  at::Tensor features(const at::Tensor& x, Context context);
  // Of examples [R][n], which pass in batches of the same size whatever the company: [R] of [n,H],
  // on the CPU.
  std::vector<at::Tensor> features_of(const std::vector<std::vector<std::int64_t>>& examples,
                                      const Context& context);

  // Called where topology updates of these replicas [R] are about to happen, with the step's
  // gradients in place.
  std::function<void(const std::vector<char>& due)> before_update;

  // Names of all parameters as checkpoints have them, and the digests (topology/digest.h) of the
  // replicas that are wanted, [R][names]; the others have none. Between steps.
  std::vector<std::string> parameter_names() const;
  std::vector<std::vector<std::uint64_t>> digests(const std::vector<char>& wanted) const;

  // State of replica r as named CPU tensors ("parameter/NAME", "slot/NAME/SLOT", "mask/NAME",
  // "buffer/NAME", "strategy/NAME") and counters; loading restores training bit for bit.
  std::vector<std::pair<std::string, at::Tensor>> save(std::int64_t r) const;
  using SavedState = std::vector<std::pair<std::string, at::Tensor>>;
  void load(std::int64_t r, const SavedState& tensors);
  // Of it only parameters, masks and buffers, of `count` replicas from `first` on: a copy from a
  // GPU serves them all.
  std::vector<SavedState> save_weights(std::int64_t first, std::int64_t count) const;
  // What a replica trains on.
  Stages stages_of(std::int64_t r) const;
  // What the strategy keeps for a replica, in bytes: the inputs of the examples that it holds after
  // a stage, as the data set has them; and, between steps, all else that a checkpoint keeps of it.
  std::int64_t buffer_bytes(std::int64_t r, std::int64_t stage) const;
  std::int64_t strategy_bytes(std::int64_t r) const;
  std::int64_t data_bytes(std::int64_t r) const;  // inputs of all tasks' training examples
  // Operations of one forward and backward pass over the training examples of what a stage learns,
  // its task or all tasks at once, through the net that the method trains as it is now.
  double pass_flops(std::int64_t r, std::int64_t stage) const;

 private:
  std::int64_t input_bytes(const Stages& stages, std::int64_t stage) const;
  void build_tasks();
  void build_network();
  void build_teacher(const std::vector<Config>& configs, const ModelShape& shape);
  // Parameters of the network, and of its teacher where there is one: net by net, and all of them.
  std::vector<std::vector<Parameter*>> nets() const;
  std::vector<Parameter*> parameters() const;
  std::vector<Buffer*> buffers() const;  // likewise
  void begin_with_given(Model& model) const;
  std::shared_ptr<const InitialNet> initial_net(std::int64_t r) const {
    return options_.initial.empty() ? nullptr : options_.initial[static_cast<std::size_t>(r)];
  }
  void start_topology();
  std::vector<Connections*> start_layers(const std::vector<Start>& starts,
                                         const std::vector<std::uint64_t>& keys);
  std::vector<Storage> storages_of_layers() const;
  struct Captured {
    bool seen = false;  // once, without a graph: what a first run sets up can't be captured
    CudaGraph graph;
    std::vector<at::Tensor> gradients;  // of the parameters, in the graph's memory
  };

  struct Pass {
    Context context;
    at::Tensor loss_weight;  // [R] of its task loss; undefined: 1
  };

  std::vector<ReplicaPlan> plan_step(std::int64_t stage, std::int64_t in_stage) const;
  using ReplicaRows = std::vector<std::vector<BatchRow>>;  // by role
  struct RowCounts {
    double trained = 0, passed = 0;  // rows of the batch; forward passes beside it
  };
  RowCounts prepare(std::int64_t r, std::int64_t row, std::int64_t stage, std::int64_t in_stage,
                    const ReplicaPlan& plan);
  kernels::StepNumbers numbers_of(std::size_t r, const ReplicaPlan& plan) const;
  StepKind kind_of(const std::vector<ReplicaPlan>& plans) const;
  PerLevel<LevelPlan> level_plans(const StepKind& kind, const StepRows& rows) const;
  std::vector<Pass> passes_of(const StepKind& kind, const StepRows& rows) const;
  void run_step(const StepKind& kind);
  void compute_step(const StepKind& kind);
  StepLosses compute_gradients(const StepKind& kind, const StepRows& rows);
  // What is kept of a step's passes: for a strategy the outputs of the stream that learns, and what
  // buffers become more by.
  struct Learnt {
    bool counts = false;  // the passes are those at the step's own weights
    Batch batch = {};
    StepRows rows = {};
    at::Tensor logits = {};
    std::vector<BufferAddition> additions = {};
  };
  StepLosses take_gradients(const StepKind& kind, const StepRows& rows, Learnt& learnt);
  struct PassLosses;
  PassLosses run_passes(std::vector<Pass>& passes, Learnt& learnt);
  void keep_gaps(const Context& context, const at::Tensor& loss_weight);
  at::Tensor counted_examples(const StepRows& rows) const;
  void differentiate(const at::Tensor& loss);
  void perturb(std::vector<at::Tensor>& kept);
  at::Tensor distillation_loss(const at::Tensor& logits, Learnt& learnt, at::Tensor& pull);
  void build_strategy();
  StepRows columns_of(const StepRows& rows, RoleColumns columns) const;
  Batch batch_of(const StepRows& rows) const;
  at::Tensor weights_of_columns(const at::Tensor& role_weights) const;
  StepView view_of(const Batch& batch, const StepRows& rows, const at::Tensor& logits) const;
  at::Tensor task_loss(const Batch& batch, const at::Tensor& logits,
                       const at::Tensor& allowed) const;
  void change_gradients(const StepRows& rows, StepLosses& losses);
  std::vector<char> turns_before(std::int64_t stage, std::int64_t in_stage) const;
  void pass_references(const StepKind& kind, const StepRows& rows);
  std::vector<at::Tensor> gradients_of_columns(const StepKind& kind, const StepRows& rows,
                                               const StepRows& own);
  bool chooses() const;  // rows of a replay, on the device
  StepRows with_choice(const StepKind& kind, const StepRows& rows);
  void record_cuts(const StepKind& kind, const StepRows& rows);
  at::Tensor mask_of_gradient(const Parameter& parameter, const at::Tensor& numbers) const;
  bool trains_sparse() const;
  Context trained_stream(bool sparse) const;
  std::vector<at::Tensor> importances(const std::vector<std::vector<std::int64_t>>& examples,
                                      Importance kind);
  std::vector<std::pair<at::Tensor, at::Tensor>> functions_of(const Batch& batch,
                                                              const at::Tensor& logits,
                                                              Importance kind) const;
  void add_importances_by_rows(const Batch& batch, Importance kind, std::vector<at::Tensor>& sums);
  void add_importances(const Batch& batch, Importance kind, Model& copies,
                       std::vector<at::Tensor>& sums) const;
  std::vector<at::Tensor> as_stored(const std::vector<at::Tensor>& dense) const;
  static std::vector<at::Tensor> leaves_of(Model& model);
  // A net of dense weights with each replica so many times, side by side, on the run's device; and
  // what it has to be the run's net as it is now, in the stream that the method trains.
  std::unique_ptr<Model> make_copy(std::int64_t times) const;
  void fill_copy(Model& copy, std::int64_t times) const;
  // uint8 of [R,in*out]: the weights of that stream; undefined: all that are stored.
  at::Tensor trained_flags(const Connections& connections, bool sparse) const;
  void add_to(std::vector<at::Tensor>& sums, const Parameter& parameter,
              const at::Tensor& term) const;
  void add_dormant_decay(const StepRows& rows);
  void update_topology(const std::vector<ReplicaPlan>& plans, StepReport& report);
  // Gradients, and inputs where a criterion reads them, become means over fresh batches.
  void read_fresh_batches(const UpdateMoment& moment);
  Batch fresh_batch(const UpdateMoment& moment, std::int64_t number) const;
  Context fresh_context(const UpdateMoment& moment) const;
  void begin_full_phase(const std::vector<char>& enters);
  void begin_sparse_phase(const std::vector<char>& enters);
  void record_masks();
  void load_networks(std::int64_t r, const std::map<std::string, at::Tensor>& by_name);
  bool resets_optimizer() const;  // where a task begins after another
  void restart();  // networks and topologies are as the run began with them, without slots
  void read_state() const;
  void write_state();

  TrainerOptions options_;
  Batches batches_;
  std::vector<RunSchedule> runs_;
  std::int64_t stage_count_ = 1;
  std::unique_ptr<Model> model_, teacher_;
  at::Tensor teacher_alpha_, radius_;  // [R] on the device
  std::unique_ptr<Optimizer> optimizer_;
  class Services;
  class Gradients;
  class Choice;
  std::unique_ptr<StrategyServices> services_;
  std::unique_ptr<Strategy> strategy_;
  StrategyNeeds needs_;
  std::vector<SavedState> beginning_;  // [R] where stages begin afresh
  TableLayout layout_;
  RoleColumns in_batch_;  // of the tables of examples, the step's own batch
  // Of replays beside the batch: S * G of their task loss by parameter, and whose it is, bool [R].
  std::vector<std::pair<std::vector<at::Tensor>, at::Tensor>> references_;
  Optimizer::Terms update_terms_;  // of the step, from the strategy
  std::vector<std::unique_ptr<Model>> snapshots_;
  std::vector<char> taken_;  // [snapshots] it has been taken
  // Beside model_->linears(), bool beside Parameter::flat(): what the step's streams used of the
  // layer, where this is more than a matter of the whole replica and S; else undefined.
  std::vector<at::Tensor> cuts_;
  struct ThisStep {
    const StepKind* kind = nullptr;
    const StepRows* rows = nullptr;
  };
  ThisStep step_;                   // that is computed
  bool expects_gradient_ = false;   // an update after this step reads the gradient
  std::vector<LayerShape> layers_;  // of model_->linears()
  std::unique_ptr<TopologyUpdater> topology_;
  std::unique_ptr<FlopsLedger> flops_;
  std::unique_ptr<StepTables> tables_;
  std::int64_t ahead_ = 0;  // steps of the last tables
  std::map<StepKind, Captured> captured_;
  std::string masked_layers_;  // StepKind::masked as it is now
  std::vector<char> frozen_;
  at::Tensor state_;  // double [R,kReplicaState], on the device
  mutable std::vector<kernels::ReplicaState> host_state_;  // the same, where it is fresh
  mutable bool fresh_ = true;
};

class Trainer::ReadNet {
 public:
  ReadNet(Trainer& trainer, std::int64_t task);
  ~ReadNet();
  // The values of a replica that differ from the trained net's, by parameter, on the CPU.
  std::vector<std::pair<std::string, at::Tensor>> values(std::int64_t r) const;
  ReadNet(const ReadNet&) = delete;
  ReadNet& operator=(const ReadNet&) = delete;

 private:
  std::vector<std::pair<Parameter*, at::Tensor>> kept_;  // values that were swapped away
};

}  // namespace tandem
