// This family measures how far tasks share what the network makes of them, per hidden layer of H
// units, on validation examples of all tasks, through the stream that the activations family looks
// through. X_t is [n_t, H], the activations of task t. Means over pairs of tasks i < j are
//   task_overlap     ||X_i X_j'||_F^2 / (||X_i X_i'||_F ||X_j X_j'||_F), X centred within each
//                    task: whether tasks vary along the same directions (1) or others (0). The
//                    means, which units that are never negative all share, take no part
//   task_cosine      cosine of the tasks' mean activations, these included
//   task_iou         |A_i and A_j| / |A_i or A_j|, A_t the units whose mean over the task is
//                    above the layer's mean over units and tasks
//   task_iou_chance  what random sets of these sizes have, a_i a_j / (a_i + a_j - a_i a_j), a_t
//                    the share of units in A_t
// and means over the tasks that have begun
//   task_dead_units  units that no example of the task activates; of the whole net their sum
//   task_live_l0     share of the other units that is active, mean over the task's examples
// with a unit being active where the activations family says so. It measures at the ends of tasks
// as well, and looks at the net as it is trained, also where tasks have nets of their own. Runs of
// one task have no rows, and a layer where every task's activations stand still has no
// task_overlap.
#include <cmath>
#include <map>
#include <vector>

#include "data/tensor.h"
#include "probes/active_units.h"
#include "probes/read_net.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// Of one task in one layer, in double precision on the CPU.
struct TaskActivations {
  at::Tensor centred;  // [n,H]
  at::Tensor mean;     // [H]
  double self = 0;     // ||X X'||_F
};

// ||X Y'||_F^2.
double shared_energy(const at::Tensor& x, const at::Tensor& y) {
  return x.mm(y.t()).square().sum().item<double>();
}

std::vector<TaskActivations> by_task(const at::Tensor& units,
                                     const std::vector<std::int64_t>& task) {
  std::map<std::int64_t, std::vector<std::int64_t>> rows;
  for (std::size_t i = 0; i < task.size(); ++i) {
    rows[task[i]].push_back(static_cast<std::int64_t>(i));
  }
  std::vector<TaskActivations> all;
  for (const auto& [number, own] : rows) {
    if (own.size() < 2) continue;
    const at::Tensor x = units.index_select(0, at::tensor(own, at::kLong));
    TaskActivations activations;
    activations.mean = x.mean(0);
    activations.centred = x - activations.mean;
    activations.self = std::sqrt(shared_energy(activations.centred, activations.centred));
    all.push_back(std::move(activations));
  }
  return all;
}

// A mean over the pairs, or tasks, that have a value.
struct PairMean {
  double sum = 0;
  std::int64_t count = 0;
  double value() const { return sum / static_cast<double>(count); }  // not finite where none has
  void add(double value) {
    sum += value;
    ++count;
  }
};

// `units` is [N,H], of one layer and replica.
void record_units(Recorder& rows, std::int64_t r, const std::string& layer, const at::Tensor& units,
                  const std::map<std::int64_t, std::vector<std::int64_t>>& places) {
  const at::Tensor active = active_units(units).to(torch::kCPU);
  const auto width = static_cast<double>(units.size(1));
  PairMean dead_units, live_l0;
  for (const auto& [task, own] : places) {
    const at::Tensor of_task = active.index_select(0, at::tensor(own, at::kLong));
    const auto dead = static_cast<double>(of_task.any(0).logical_not().sum().item<std::int64_t>());
    dead_units.add(dead);
    if (dead < width) {
      live_l0.add(of_task.to(torch::kDouble).mean().item<double>() * width / (width - dead));
    }
  }
  rows.layer(r, "", layer, "task_dead_units", dead_units.value(), WholeNetRow::kSum);
  rows.layer(r, "", layer, "task_live_l0", live_l0.value());
}

class TasksProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    const auto tasks = input.tasks ? input.tasks() : std::vector<std::vector<std::int64_t>>();
    if (tasks.empty()) return rows.finish();
    Context context = trained_context(input.runs);
    context.observe_tensor = [&](const std::string& layer, const std::string& what,
                                 const at::Tensor& value) {
      if (what != "activation") return;
      for (std::int64_t r = 0; r < value.size(0); ++r) {
        const auto& task = tasks[static_cast<std::size_t>(r)];
        // Of a sequence model there are rows of tokens, which belong to no task.
        if (!input.wants(r) || value.dim() != 3 ||
            value.size(1) != static_cast<std::int64_t>(task.size()))
          continue;
        record_tasks(rows, r, layer, value[r], task);
        record_units(rows, r, layer, value[r], places_by_task(task, input.task));
      }
    };
    input.model.forward(input.x, context);
    return rows.finish();
  }

 private:
  static void record_tasks(Recorder& rows, std::int64_t r, const std::string& layer,
                           const at::Tensor& activation, const std::vector<std::int64_t>& task) {
    const std::vector<TaskActivations> tasks =
        by_task(activation.to(torch::kCPU, torch::kDouble), task);
    if (tasks.size() < 2) return;
    std::vector<at::Tensor> means;
    for (const TaskActivations& each : tasks) means.push_back(each.mean);
    const double middle = torch::stack(means).mean().item<double>();
    PairMean overlap, cosine, iou, chance;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      for (std::size_t j = i + 1; j < tasks.size(); ++j) {
        const TaskActivations &a = tasks[i], &b = tasks[j];
        if (a.self > 0 && b.self > 0)
          overlap.add(shared_energy(a.centred, b.centred) / (a.self * b.self));
        const double norms = a.mean.norm().item<double>() * b.mean.norm().item<double>();
        if (norms > 0) cosine.add(a.mean.dot(b.mean).item<double>() / norms);
        const at::Tensor in_a = a.mean > middle, in_b = b.mean > middle;
        const auto share = [](const at::Tensor& set) {
          return set.to(torch::kDouble).mean().item<double>();
        };
        const double either = share(in_a.logical_or(in_b)), p = share(in_a), q = share(in_b);
        if (either == 0) continue;
        iou.add(share(in_a.logical_and(in_b)) / either);
        chance.add(p * q / (p + q - p * q));
      }
    }
    rows.layer(r, "", layer, "task_overlap", overlap.value());
    rows.layer(r, "", layer, "task_cosine", cosine.value());
    rows.layer(r, "", layer, "task_iou", iou.value());
    rows.layer(r, "", layer, "task_iou_chance", chance.value());
  }
};

TANDEM_REGISTERED =
    probes().add({.kind = "probe",
                  .name = "tasks",
                  .summary = "not by default; per hidden layer, between tasks of a sequence: "
                             "task_overlap, task_cosine, task_iou; per task: task_dead_units, "
                             "task_live_l0",
                  .cite = "",
                  .file = __FILE__},
                 [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
                   return std::make_unique<TasksProbe>();
                 });

}  // namespace
}  // namespace tandem
