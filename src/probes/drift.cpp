// This family measures how far hidden representations of earlier tasks have drifted since these
// tasks ended, per hidden layer of H units. X are the activations [n,H] of the fixed batch's
// examples of a task at that task's end and Y those of the same examples now, each through the net
// as it is read.
//   task_cka     ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F), columns centred: linear centred kernel
//                alignment (Kornblith et al. 2019), 1 where Y is a rotated and scaled X
//   task_change  ||Y - X||_F / ||X||_F, which a mere rotation or scale counts as well
// Both are means over the earlier tasks, at the ends of tasks and wherever probes measure. There
// are no rows before a second task, of one stage with all tasks, and of sequence models; no
// task_cka of a layer where a task's activations stand still. What is kept of a run are the
// activations of the batch.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/text.h"
#include "data/tensor.h"
#include "probes/lists.h"
#include "probes/read_net.h"
#include "probes/recorder.h"

namespace tandem {
namespace {

// x and y are double [n,H], centred. Of examples by examples or of units by units, whichever are
// fewer: ||Y'X||_F^2 = sum of (X X') * (Y Y').
double alignment(const at::Tensor& x, const at::Tensor& y) {
  if (x.size(0) > x.size(1)) return y.t().mm(x).square().sum().item<double>();
  return (x.mm(x.t()) * y.mm(y.t())).sum().item<double>();
}

double linear_cka(const at::Tensor& before, const at::Tensor& now) {
  const at::Tensor x = before - before.mean(0), y = now - now.mean(0);
  return alignment(x, y) / std::sqrt(alignment(x, x) * alignment(y, y));
}

// The mean over the tasks that have a value.
class TaskMean {
 public:
  void add(double value) {
    if (!std::isfinite(value)) return;
    sum_ += value;
    ++count_;
  }
  double value() const { return sum_ / count_; }  // not finite where there is none

 private:
  double sum_ = 0, count_ = 0;
};

class DriftProbe : public Probe {
 public:
  explicit DriftProbe(std::size_t replicas) : ends_(replicas) {}

  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    const auto tasks = tasks_of(input);
    if (tasks.empty()) return rows.finish();
    const NetReading now = read_net(input, tasks);
    for (std::int64_t r = 0; r < replicas; ++r) {
      if (!input.wants(r)) continue;
      const auto places = places_by_task(tasks[static_cast<std::size_t>(r)], input.task);
      for (const auto& [layer, units] : now.activations) {
        record_drift(rows, r, layer, units[r], places);
        if (!input.task_ends || places.count(input.task) == 0) continue;
        ends_[static_cast<std::size_t>(r)][input.task][layer] =
            units[r].to(torch::kCPU).index_select(0, at::tensor(places.at(input.task), at::kLong));
      }
    }
    return rows.finish();
  }

  std::vector<std::pair<std::string, at::Tensor>> save_tensors(std::int64_t replica) const override;
  void load_tensor(std::int64_t replica, const std::string& name,
                   const at::Tensor& values) override;

 private:
  using Places = std::map<std::int64_t, std::vector<std::int64_t>>;
  void record_drift(Recorder& rows, std::int64_t r, const std::string& layer,
                    const at::Tensor& units, const Places& places) const;

  // [R] by task and layer, at the task's end: [n,H] on the CPU.
  std::vector<std::map<std::int64_t, std::map<std::string, at::Tensor>>> ends_;
};

void DriftProbe::record_drift(Recorder& rows, std::int64_t r, const std::string& layer,
                              const at::Tensor& units, const Places& places) const {
  TaskMean cka, change;
  for (const auto& [task, layers] : ends_[static_cast<std::size_t>(r)]) {
    const auto found = layers.find(layer);
    const auto own = places.find(task);
    if (found == layers.end() || own == places.end()) continue;
    const at::Tensor before = found->second.to(torch::kDouble);
    const at::Tensor now =
        units.to(torch::kCPU, torch::kDouble).index_select(0, at::tensor(own->second, at::kLong));
    if (before.sizes() != now.sizes()) continue;
    cka.add(linear_cka(before, now));
    change.add((now - before).norm().item<double>() / before.norm().item<double>());
  }
  rows.layer(r, "", layer, "task_cka", cka.value());
  rows.layer(r, "", layer, "task_change", change.value());
}

// Named LAYER/TASK.
std::vector<std::pair<std::string, at::Tensor>> DriftProbe::save_tensors(
    std::int64_t replica) const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [task, layers] : ends_[static_cast<std::size_t>(replica)]) {
    for (const auto& [layer, units] : layers) {
      tensors.emplace_back(layer + "/" + std::to_string(task), units);
    }
  }
  return tensors;
}

void DriftProbe::load_tensor(std::int64_t replica, const std::string& name,
                             const at::Tensor& values) {
  const auto [layer, what] = layer_and_what(name);
  const auto task = parse_integer(what);
  if (!task || values.dim() != 2) refuse_list(name, "activations of a task, LAYER/TASK");
  ends_[static_cast<std::size_t>(replica)][*task][layer] = values;
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "drift",
     .summary =
         "not by default; per hidden layer, of earlier tasks' examples since the task's end: "
         "task_cka, task_change",
     .cite = "arXiv:1905.00414",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<DriftProbe>(runs.size());
    });

}  // namespace
}  // namespace tandem
