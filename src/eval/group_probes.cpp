// A part of the fixed large training batch takes examples k stride mod n, k = part batch + 0, 1,
// ...: with a stride prime to n near the golden section they lie evenly, whatever order the split
// has, and none repeats before all have been taken.
#include "eval/group_probes.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "core/log.h"
#include "data/example.h"
#include "data/gather.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "plan/plan.h"
#include "plan/stages.h"
#include "plan/step_demands.h"
#include "readout/readout.h"
#include "train/loss.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kTrainingParts = 64;
constexpr std::int64_t kAskedSequences = 1024, kAskedPart = 8;
constexpr char kPrefix[] = "probe/";
constexpr char kTensorPrefix[] = "probe_tensor/";

at::Tensor flat(const at::Tensor& logits) {
  return logits.reshape({logits.size(0), -1, logits.size(-1)});  // [R,N,C]
}

// Of the rows that are asked.
ExampleScores scores(const Batch& batch, const at::Tensor& logits) {
  return score_examples(asked_rows(flat(logits), batch.asked),
                        asked_rows(batch.target, batch.asked), batch.allowed);
}

std::int64_t even_stride(std::int64_t n) {
  auto stride =
      std::max<std::int64_t>(1, std::llround(0.6180339887498949 * static_cast<double>(n)));
  while (std::gcd(stride, n) != 1) ++stride;
  return stride;
}

// Adds the seconds that it lives to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum) {}
  ~Stopwatch() { sum_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& sum_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

GroupProbes::GroupProbes(Trainer& trainer) : trainer_(trainer), runs_(probe_runs(trainer)) {
  Model& model = trainer.model();
  check_dense_readers(model, runs_);
  const std::string too_large = too_large_to_copy(model);
  for (auto& [name, probe] : chosen_probes(runs_)) {
    if (!too_large.empty() && probe->reads_dense_weights()) {
      // A run that is too large alone was warned of before it began; groups are no larger than can
      // be copied, unless an earlier version began them.
      if (runs_.size() > 1) log_warn("the probe '" + name + "' is left out: " + too_large);
      continue;
    }
    probe->begin(model);
    seconds_[name] = 0;
    probes_.emplace_back(name, std::move(probe));
  }
}

const Batch& GroupProbes::validation_batch() {
  if (!batch_) batch_ = probe_batch(trainer_);
  return *batch_;
}

TrainingPart GroupProbes::training_part(std::int64_t stage, std::int64_t part) const {
  const Dataset& data = trainer_.data();
  const std::int64_t size = runs_.front().config.integer("batch");
  std::vector<std::vector<std::int64_t>> examples;
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    std::vector<std::int64_t> all;
    std::optional<WindowStarts> windows;  // which start anywhere in ranges
    if (data.windows()) {
      windows.emplace(trainer_.stages_of(r).windows(stage));
    } else {
      all = trainer_.stages_of(r).examples(stage);
    }
    const std::int64_t n = windows ? windows->count() : static_cast<std::int64_t>(all.size());
    const std::int64_t stride = even_stride(n);
    std::vector<std::int64_t>& own = examples.emplace_back();
    for (std::int64_t k = part * size; k < (part + 1) * size; ++k) {
      const std::int64_t i = k % n * stride % n;
      own.push_back(windows ? windows->at(i) : all[static_cast<std::size_t>(i)]);
    }
  }
  const Batches& batches = trainer_.batches();
  const Batch batch = batches.make(examples, size, batches.trained_outputs());
  return {batch.x, [batch](const at::Tensor& logits) {
            return cross_entropy(flat(logits), batch.target, batch.weight, batch.allowed);
          }};
}

// The first validation sequences, part by part; the tasks so far have parts in turn.
AskedPart GroupProbes::asked_part(std::int64_t part, std::int64_t tasks) const {
  const Dataset& data = trainer_.data();
  const std::int64_t begin = part * kAskedPart;
  const std::int64_t end =
      std::min(begin + kAskedPart, static_cast<std::int64_t>(data.validation.size()));
  const std::vector<std::int64_t> places(data.validation.begin() + begin,
                                         data.validation.begin() + end);
  AskedPart asked;
  asked.task = 1 + part % tasks;
  std::vector<std::int64_t> own;
  for (const std::int64_t place : places) own.push_back(example_of(place, asked.task));
  const std::vector<std::vector<std::int64_t>> examples(runs_.size(), own);
  const Batch batch = trainer_.batches().make(examples, end - begin, OutputsOf::kAll);
  asked.x = batch.x;
  asked.asked = batch.asked;
  asked.target = asked_rows(batch.target, batch.asked);
  const at::Tensor index = torch::tensor(places, torch::kLong);
  asked.place = data.asked.index_select(0, index).to(torch::kLong);
  asked.sources = data.sources.index_select(0, index).to(torch::kLong);
  return asked;
}

std::int64_t GroupProbes::last_dense_step(const Moment& moment, std::int64_t r,
                                          std::size_t layer) const {
  const RunSchedule& run = trainer_.run(r);
  if (!run.demands.weights.ever_reaches_all) return 0;
  std::int64_t before = run.timeline.before(moment.stage);
  for (std::int64_t stage = moment.stage; stage >= 0; --stage) {
    const std::int64_t own = run.timeline.task_steps[static_cast<std::size_t>(stage)];
    const std::int64_t taken = stage == moment.stage ? std::min(moment.in_stage, own) : own;
    for (std::int64_t t = taken; t-- > 0;) {
      if (reaches_all(run.demands.weights, plan_replica(run, stage, t), layer))
        return before + t + 1;
    }
    if (stage > 0) before -= run.timeline.task_steps[static_cast<std::size_t>(stage - 1)];
  }
  return 0;
}

ProbeInput GroupProbes::input_at(std::int64_t stage) {
  const Batch& batch = validation_batch();
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    runs_[r].full_phase = in_full_phase(trainer_.run(replica), trainer_.steps_of(replica));
  }
  ProbeInput input{
      trainer_.model(), runs_, batch.x,
      [&batch](const at::Tensor& logits) { return scores(batch, logits).loss.mean(1); },
      [&batch](const at::Tensor& logits) {
        return scores(batch, logits).correct.to(torch::kFloat64).mean(1);
      }};
  input.shared_loss = [&batch](const at::Tensor& logits, const at::Tensor& share) {
    return shared_cross_entropy(flat(logits), batch.target, share, batch.allowed);
  };
  input.target = batch.target;
  input.asked = batch.asked;
  input.outputs_allowed = batch.allowed;
  tell_tasks(stage, input);
  input.ranking = ranking_batch(batch);
  input.training_parts = kTrainingParts;
  input.training = [this, stage](std::int64_t part) { return training_part(stage, part); };
  if (trainer_.data().sources.defined()) {
    const auto there = static_cast<std::int64_t>(trainer_.data().validation.size());
    input.asked_parts = (std::min(kAskedSequences, there) + kAskedPart - 1) / kAskedPart;
    input.asked_part = [this, tasks = input.task](std::int64_t part) {
      return asked_part(part, tasks);
    };
  }
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) input.step.push_back(trainer_.steps_of(r));
  return input;
}

void GroupProbes::tell_tasks(std::int64_t stage, ProbeInput& input) {
  input.tasks = [this] { return probe_tasks(trainer_); };
  const auto tasks = static_cast<std::int64_t>(trainer_.tasks(0).tasks.size());
  input.several_tasks = tasks > 1;
  input.task = trainer_.stages() == 1 ? tasks : stage + 1;
  for (std::int64_t r = 0; tasks > 1 && r < trainer_.replicas(); ++r) {
    const TaskSequence& sequence = trainer_.tasks(r);
    std::vector<std::int64_t> of_output(static_cast<std::size_t>(sequence.outputs), 0);
    bool shared = false;
    for (std::size_t t = 0; t < sequence.task_outputs.size(); ++t) {
      const auto [first, last] = sequence.task_outputs[t];
      for (std::int64_t c = first; c < last; ++c) {
        std::int64_t& own = of_output[static_cast<std::size_t>(c)];
        shared = shared || own != 0;
        own = static_cast<std::int64_t>(t) + 1;
      }
    }
    if (!shared) input.task_of_output.push_back(std::move(of_output));
  }
  input.task_nets = trainer_.read() == StrategyNeeds::Read::kTask;
  if (trainer_.read() == StrategyNeeds::Read::kAsItIs) return;
  input.read_as = [this](std::int64_t task) {
    return std::make_shared<Trainer::ReadNet>(trainer_, task);
  };
}

// Those that read dense weights come last, while copies stand in for what layers store.
std::vector<Measurements> GroupProbes::measure_all(const ProbeInput& input) {
  std::vector<Measurements> measured(probes_.size());
  const auto looks = [&](const NamedProbe& each, bool dense) {
    const bool due = !input.task_ends || input.last || each.second->at_task_ends();
    return due && each.second->reads_dense_weights() == dense;
  };
  const auto measure = [&](bool dense) {
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      if (!looks(probes_[i], dense)) continue;
      const auto& [name, probe] = probes_[i];
      const Stopwatch watch(seconds_[name]);
      measured[i] = probe->measure(input);
    }
  };
  measure(false);
  const auto dense = std::find_if(probes_.begin(), probes_.end(),
                                  [&](const NamedProbe& each) { return looks(each, true); });
  if (dense == probes_.end()) return measured;
  std::optional<DenseCopies> copies;
  {
    const Stopwatch watch(seconds_[dense->first]);  // the first that needs them pays
    copies.emplace(input.model);
  }
  measure(true);
  return measured;
}

std::vector<std::vector<MetricRow>> GroupProbes::measure(const Moment& moment) {
  std::vector<std::vector<MetricRow>> rows(runs_.size());
  const bool looked_at = !moment.task_ends || moment.last ||
                         std::any_of(probes_.begin(), probes_.end(), [](const NamedProbe& each) {
                           return each.second->at_task_ends();
                         });
  if (trainer_.data().validation.empty() || !looked_at) return rows;
  at::NoGradGuard no_grad;
  ProbeInput input = input_at(moment.stage);
  input.last_dense_step = [&](std::int64_t r, std::size_t layer) {
    return last_dense_step(moment, r, layer);
  };
  input.wanted = moment.wanted;
  input.last = moment.last;
  input.task_ends = moment.task_ends;
  for (const Measurements& measured : measure_all(input)) {
    for (std::size_t r = 0; r < measured.size(); ++r) {
      if (!moment.wanted[r]) continue;
      for (const Measurement& m : measured[r]) {
        if (!std::isfinite(m.value)) continue;
        rows[r].push_back({m.step.value_or(input.step[r]), m.layer, m.name, m.value});
      }
    }
  }
  return rows;
}

bool GroupProbes::watches_before_updates() const {
  return !trainer_.data().validation.empty() &&
         std::any_of(probes_.begin(), probes_.end(),
                     [](const NamedProbe& each) { return each.second->watches_before_updates(); });
}

void GroupProbes::before_update(std::int64_t stage, const std::vector<char>& due) {
  const Stopwatch all(in_updates_s_);
  at::NoGradGuard no_grad;
  const ProbeInput input = input_at(stage);
  for (auto& [name, probe] : probes_) {
    if (!probe->watches_before_updates()) continue;
    const Stopwatch watch(seconds_[name]);
    probe->before_update(input, due);
  }
}

void GroupProbes::after_update(const MaskChange& change) {
  for (auto& [name, probe] : probes_) {
    if (!probe->watches_updates()) continue;
    const Stopwatch watch(seconds_[name]);
    probe->after_update(change);
  }
}

double GroupProbes::seconds() const {
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0,
                         [](double sum, const auto& each) { return sum + each.second; });
}

std::vector<MetricRow> GroupProbes::cost_rows(std::int64_t r) const {
  std::vector<MetricRow> rows;
  for (const auto& [name, probe] : probes_) {
    rows.push_back({trainer_.steps_of(r), name, "probe_seconds",
                    seconds_.at(name) / static_cast<double>(trainer_.replicas())});
  }
  return rows;
}

std::vector<std::pair<std::string, at::Tensor>> GroupProbes::save(std::int64_t r) const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, probe] : probes_) {
    for (const auto& [key, values] : probe->save(r)) {
      tensors.emplace_back(kPrefix + name + "/" + key, torch::tensor(values, torch::kLong));
    }
    for (const auto& [key, values] : probe->save_tensors(r)) {
      tensors.emplace_back(kTensorPrefix + name + "/" + key, values);
    }
  }
  return tensors;
}

void GroupProbes::load(std::int64_t r,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  for (const auto& [name, tensor] : tensors) {
    for (auto& [family, probe] : probes_) {
      const std::string prefix = kPrefix + family + "/", of_tensors = kTensorPrefix + family + "/";
      if (name.rfind(of_tensors, 0) == 0)
        probe->load_tensor(r, name.substr(of_tensors.size()), tensor);
      if (name.rfind(prefix, 0) != 0) continue;
      const auto* begin = tensor.data_ptr<std::int64_t>();
      probe->load(r, name.substr(prefix.size()), {begin, begin + tensor.numel()});
    }
  }
}

}  // namespace tandem
