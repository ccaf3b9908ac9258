// This family measures what lies between the nets at the ends of consecutive tasks, a at the end of
// the task before and b now, by their weights, biases and norms.
//   loss_barrier    max over t in {0, .1, ..., 1} of
//                   L((1-t) a + t b) - ((1-t) L(a) + t L(b)),
//                   L the mean loss over the fixed batch's examples of the tasks that have begun: 0
//                   where the straight way between the nets is nowhere worse than its ends (linear
//                   mode connectivity: Frankle et al. 2020, of tasks: Mirzadeh et al. 2021)
//   loss_barrier_earlier   the same over the examples of the tasks before the one under way, which
//                   both nets have learnt
//   weight_change   |b - a| / |a|
//   weight_norm     |b|, from the first task on
// A net is what the stream that the method trains computes with: all weights where it trains the
// full stream, else those of the mask, the others being zero. Between two topologies, nets hence
// have the union of both masks. They are those that training goes on from, also where a strategy
// reads averages. There are no rows of runs of one task, of sequence models, and of strategies that
// give each task a net of its own. What is kept of a run is a dense copy of its net.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "data/tensor.h"
#include "probes/lists.h"
#include "probes/read_net.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

constexpr int kPathSteps = 10;

// Beside Model::parameters() and then Model::buffers(), these in double, [R,...].
using NetValues = std::vector<at::Tensor>;

// The names that these values have at tasks' ends.
std::vector<std::string> names_of(Model& model) {
  std::vector<std::string> names;
  for (const Parameter* parameter : model.parameters()) names.push_back(parameter->name);
  for (const Buffer* buffer : model.buffers()) names.push_back(buffer->name);
  return names;
}

NetValues values_of(const ProbeInput& input) {
  NetValues values = trained_values(input.model, input.runs);
  for (const Buffer* buffer : input.model.buffers()) {
    values.push_back(buffer->value.to(torch::kDouble, /*non_blocking=*/false, /*copy=*/true));
  }
  return values;
}

// While it lives, the model computes with these values.
class BorrowedValues {
 public:
  BorrowedValues(Model& model, const NetValues& values) {
    for (Parameter* parameter : model.parameters()) own_.push_back(&parameter->value);
    for (Buffer* buffer : model.buffers()) own_.push_back(&buffer->value);
    for (std::size_t p = 0; p < own_.size(); ++p) {
      kept_.push_back(*own_[p]);
      *own_[p] = values[p];
    }
  }
  ~BorrowedValues() {
    for (std::size_t p = 0; p < own_.size(); ++p) *own_[p] = kept_[p];
  }
  BorrowedValues(const BorrowedValues&) = delete;
  BorrowedValues& operator=(const BorrowedValues&) = delete;

 private:
  std::vector<at::Tensor*> own_;
  std::vector<at::Tensor> kept_;
};

// Of the first `count` values of one replica, or of what they are more than others.
double norm_of(std::size_t count, const NetValues& values, const NetValues& less, std::int64_t r) {
  double sum = 0;
  for (std::size_t p = 0; p < count; ++p) {
    at::Tensor own = values[p][r].to(torch::kDouble);
    if (!less.empty()) own = own - less[p][r];
    sum += own.square().sum().item<double>();
  }
  return std::sqrt(sum);
}

class BarrierProbe : public Probe {
 public:
  explicit BarrierProbe(std::size_t replicas) : ends_(replicas) {}

  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override;

  std::vector<std::pair<std::string, at::Tensor>> save_tensors(
      std::int64_t replica) const override {
    const auto& own = ends_[static_cast<std::size_t>(replica)];
    return {own.begin(), own.end()};
  }
  void load_tensor(std::int64_t replica, const std::string& name,
                   const at::Tensor& values) override {
    ends_[static_cast<std::size_t>(replica)][name] = values;
  }

 private:
  using Losses = std::vector<std::vector<double>>;  // by t and replica
  NetValues before(const ProbeInput& input, const NetValues& now) const;
  static std::vector<Losses> losses_between(const ProbeInput& input,
                                            const std::vector<at::Tensor>& shares,
                                            const NetValues& a, const NetValues& b);

  void record_way(const ProbeInput& input, const std::vector<std::vector<std::int64_t>>& tasks,
                  const NetValues& now, Recorder& rows) const;

  // [R] by name, on the CPU; empty: no task has ended.
  std::vector<std::map<std::string, at::Tensor>> ends_;
};

// Replicas that have none stand where they are.
NetValues BarrierProbe::before(const ProbeInput& input, const NetValues& now) const {
  NetValues values;
  const std::vector<std::string> names = names_of(input.model);
  for (std::size_t p = 0; p < names.size(); ++p) {
    at::Tensor own = now[p].clone();
    for (std::size_t r = 0; r < ends_.size(); ++r) {
      if (ends_[r].empty()) continue;
      const auto found = ends_[r].find(names[p]);
      const auto replica = own[static_cast<std::int64_t>(r)];
      if (found == ends_[r].end() || found->second.sizes() != replica.sizes()) {
        refuse_list(names[p], "the values that this part of the net had at a task's end");
      }
      replica.copy_(found->second);
    }
    values.push_back(own);
  }
  return values;
}

// One for each of the shares.
std::vector<BarrierProbe::Losses> BarrierProbe::losses_between(
    const ProbeInput& input, const std::vector<at::Tensor>& shares, const NetValues& a,
    const NetValues& b) {
  std::vector<Losses> losses(shares.size());
  for (int step = 0; step <= kPathSteps; ++step) {
    const double t = static_cast<double>(step) / kPathSteps;
    NetValues between;
    for (std::size_t p = 0; p < a.size(); ++p) between.push_back((1 - t) * a[p] + t * b[p]);
    const BorrowedValues borrowed(input.model, between);
    Context context = trained_context(input.runs);
    context.plans.weights.wanted = StreamsWanted::kFull;
    const at::Tensor logits = input.model.forward(input.x, context);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      const at::Tensor loss =
          input.shared_loss(logits, shares[i]).to(torch::kCPU, torch::kDouble).contiguous();
      const auto* begin = loss.const_data_ptr<double>();
      losses[i].emplace_back(begin, begin + loss.numel());
    }
  }
  return losses;
}

// losses[t] of one replica are those of t = 0, .1, ..., 1.
double highest_above_chord(const std::vector<std::vector<double>>& losses, std::size_t r) {
  double highest = losses.front()[r] - losses.front()[r];
  for (int step = 0; step <= kPathSteps; ++step) {
    const double t = static_cast<double>(step) / kPathSteps;
    const double chord = (1 - t) * losses.front()[r] + t * losses.back()[r];
    highest = std::max(highest, losses[static_cast<std::size_t>(step)][r] - chord);
  }
  return highest;
}

void BarrierProbe::record_way(const ProbeInput& input,
                              const std::vector<std::vector<std::int64_t>>& tasks,
                              const NetValues& now, Recorder& rows) const {
  const auto compares = [&](std::size_t r) {
    return input.wants(static_cast<std::int64_t>(r)) && !ends_[r].empty();
  };
  bool any = false;
  for (std::size_t r = 0; r < ends_.size(); ++r) any = any || compares(r);
  if (!any) return;
  const NetValues then = before(input, now);
  const std::size_t weights = input.model.parameters().size();
  const std::vector<at::Tensor> shares = {shares_up_to(input, tasks, input.task),
                                          shares_up_to(input, tasks, input.task - 1)};
  const std::vector<Losses> losses = losses_between(input, shares, then, now);
  for (std::size_t r = 0; r < ends_.size(); ++r) {
    if (!compares(r)) continue;
    const auto replica = static_cast<std::int64_t>(r);
    for (const auto& [name, i] : {std::pair{"loss_barrier", 0}, {"loss_barrier_earlier", 1}}) {
      const auto which = static_cast<std::size_t>(i);
      if (shares[which][replica].sum().item<double>() == 0) continue;  // no examples
      rows.whole(replica, kWeightsLevel, name, highest_above_chord(losses[which], r));
    }
    rows.whole(replica, kWeightsLevel, "weight_change",
               norm_of(weights, now, then, replica) / norm_of(weights, then, {}, replica));
  }
}

Measurements BarrierProbe::measure(const ProbeInput& input) {
  at::NoGradGuard no_grad;
  Recorder rows(static_cast<std::int64_t>(input.runs.size()));
  const auto tasks = tasks_of(input);
  if (tasks.empty() || input.task_nets) return rows.finish();
  const NetValues now = values_of(input);
  record_way(input, tasks, now, rows);
  const std::vector<std::string> names = names_of(input.model);
  for (std::size_t r = 0; r < ends_.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    if (!input.wants(replica)) continue;
    rows.whole(replica, kWeightsLevel, "weight_norm",
               norm_of(input.model.parameters().size(), now, {}, replica));
    for (std::size_t p = 0; p < now.size() && input.task_ends; ++p) {
      ends_[r][names[p]] = now[p][replica].to(torch::kCPU).clone(at::MemoryFormat::Contiguous);
    }
  }
  return rows.finish();
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "barrier",
     .summary = "not by default; between the nets at the ends of consecutive tasks: loss_barrier, "
                "loss_barrier_earlier, weight_change, weight_norm",
     .cite = "arXiv:2010.04495",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<BarrierProbe>(runs.size());
    });

}  // namespace
}  // namespace tandem
