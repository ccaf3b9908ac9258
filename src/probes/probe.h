// A probe is something measured on a schedule, outside of the training step: it looks at a model
// over a fixed batch and draws from no run's random streams. One file per family; a file that
// registers itself adds a family. The option `probes` says which families a run has.
//
// Kept mass and gap exist only where dormant weights carry values; elsewhere no row is written.
//
// Shapes: R replicas (runs of the group), in and out a layer's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "nn/model.h"
#include "readout/readout.h"
#include "topology/active_set.h"

namespace tandem {

// A TrainingPart has examples as a run trains on them.
struct TrainingPart {
  at::Tensor x;
  std::function<at::Tensor(const at::Tensor& logits)> loss;  // mean [R], differentiable
};

// An AskedPart has some sequences that are asked about what stands earlier in them; each run has
// the same ones.
struct AskedPart {
  at::Tensor x;               // int64 [R,B,T]
  at::Tensor asked, target;   // int64 [R,B Q]: rows of logits that are asked, and what is right
  at::Tensor place, sources;  // int64 [B,Q] on the CPU: the token that asks, and that of the answer
  std::int64_t task = 1;
};

struct ProbeInput {
  Model& model;
  const std::vector<ReadoutRun>& runs;  // [R]
  at::Tensor x;                         // fixed validation batch, as Model::forward takes it
  // Returns the task's mean loss [R] from the logits of a forward pass on that batch.
  std::function<at::Tensor(const at::Tensor& logits)> loss;
  std::function<at::Tensor(const at::Tensor& logits)> accuracy;  // [R]
  // Returns the sum of each example's loss times its share [R,N] from the same, [R],
  // differentiable.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& share)> shared_loss = {};
  at::Tensor target = {};  // int64 [R,N], the output that is right for each row of logits
  at::Tensor asked = {};   // int64 [R,M], the rows that have a right output; undefined: all

  // A fixed large batch has the parts 0, 1, ...: examples that lie evenly in the training split of
  // the task under way, as many in each part as a step has.
  std::int64_t training_parts = 0;
  std::function<TrainingPart(std::int64_t part)> training = {};
  // Of validation there are as well parts 0, 1, ... of sequences of the tasks so far that are
  // asked, where the data are such: more of them than x has, since few places of each count.
  std::int64_t asked_parts = 0;
  std::function<AskedPart(std::int64_t part)> asked_part = {};

  std::vector<std::int64_t> step = {};  // [R] steps taken
  // Returns the last step whose gradient reached every position of a linear layer, and 0 where none
  // has.
  std::function<std::int64_t(std::int64_t replica, std::size_t layer)> last_dense_step = {};
  std::vector<char> wanted = {};  // [R] whose rows are; the others' memory stays. Empty: all
  bool last = false;              // no measure follows
  // bool [R,N,C]: the outputs that each example of x is read out with, where a task has a head of
  // its own; undefined: all.
  at::Tensor outputs_allowed = {};
  // Returns the task of each example of x, from 1, [R][N]; nothing where runs have one task.
  std::function<std::vector<std::vector<std::int64_t>>()> tasks = {};
  bool several_tasks = false;  // runs are sequences, also where `tasks` is empty
  std::int64_t task = 1;       // the task under way, from 1; the last where all are trained at once
  bool task_ends = false;      // it has just ended
  // [R][C] the task, from 1, whose class each output is; empty where tasks share outputs.
  std::vector<std::vector<std::int64_t>> task_of_output = {};
  // Where the net is read through other values than it is trained with: the model is the net of the
  // task, or the one of all tasks where these have no nets of their own, while what is returned
  // lives. Not beside DenseCopies. Empty: it is read as it is.
  std::function<std::shared_ptr<void>(std::int64_t task)> read_as = {};
  bool task_nets = false;     // tasks have nets of their own, so that whoever reads knows the task
  RankingBatch ranking = {};  // what rankings read that use gradients or inputs

  bool wants(std::int64_t r) const {
    return wanted.empty() || wanted[static_cast<std::size_t>(r)] != 0;
  }
  std::int64_t step_of(std::int64_t r) const {
    return step.empty() ? 0 : step[static_cast<std::size_t>(r)];
  }
};

struct Measurement {
  std::string layer;  // "" = the whole net
  std::string name;   // as in MetricRow
  double value = 0;
  std::optional<std::int64_t> step = {};  // set where the value is of an earlier moment
};

// A MaskChange says what a topology update did to one layer of one replica.
struct MaskChange {
  std::int64_t replica;
  const std::string& layer;
  std::int64_t step;  // after which it happened
  const ActiveSet& before;
  const ActiveSet& after;
};

// There is one list for each replica. A probe that a run has no use for (attention of an MLP)
// returns empty lists.
using Measurements = std::vector<std::vector<Measurement>>;

class Probe {
 public:
  virtual ~Probe() = default;
  virtual Measurements measure(const ProbeInput& input) = 0;
  // Says whether it reads weight values [R,in,out]: measure() is then called while DenseCopies
  // (readout/readout.h) stand in for layers that store less, and not at all where these are too
  // large.
  virtual bool reads_dense_weights() const { return false; }
  // Says whether `probes = default` has it; what is expensive should not be there.
  virtual bool by_default() const { return true; }
  // Says whether it also measures at the end of every task of a sequence, where all other families
  // measure at the end of the run and where a run asks for it.
  virtual bool at_task_ends() const { return false; }
  // This is called once, before the first step and before load().
  virtual void begin(Model& /*model*/) {}
  // This is called after every logged topology update, for probes with a memory (coverage, churn,
  // survival).
  virtual void after_update(const MaskChange& /*change*/) {}
  virtual bool watches_updates() const { return false; }
  // This is called before every logged topology update, with the replicas whose topology is about
  // to change. The probe makes DenseCopies itself here, where it needs them.
  virtual void before_update(const ProbeInput& /*input*/, const std::vector<char>& /*due*/) {}
  virtual bool watches_before_updates() const { return false; }
  // These save and load a replica's memory as named integer lists, which a checkpoint keeps.
  virtual std::vector<std::pair<std::string, std::vector<std::int64_t>>> save(
      std::int64_t /*replica*/) const {
    return {};
  }
  virtual void load(std::int64_t /*replica*/, const std::string& /*name*/,
                    const std::vector<std::int64_t>& /*values*/) {}
  // These do the same for what of its memory is tensors on the CPU.
  virtual std::vector<std::pair<std::string, at::Tensor>> save_tensors(
      std::int64_t /*replica*/) const {
    return {};
  }
  virtual void load_tensor(std::int64_t /*replica*/, const std::string& /*name*/,
                           const at::Tensor& /*values*/) {}
};

using ProbeFactory = std::unique_ptr<Probe> (*)(const std::vector<ReadoutRun>& runs);
Registry<ProbeFactory>& probes();  // kind "probe"

using NamedProbe = std::pair<std::string, std::unique_ptr<Probe>>;
// Returns the families that the runs' option `probes` names, by name. An unknown one is a
// ConfigError.
std::vector<NamedProbe> chosen_probes(const std::vector<ReadoutRun>& runs);

// Of these the names of those that read dense weights.
std::vector<std::string> copying_probes(const std::vector<ReadoutRun>& runs);

// Throws ConfigError where copies would be too large and the runs ask for what reads them, as the
// rules say that a run is refused for before it begins (policy/rules.h). It is called before the
// first step, of runs that together may be too large where each alone is not.
void check_dense_readers(Model& model, const std::vector<ReadoutRun>& runs);

}  // namespace tandem
