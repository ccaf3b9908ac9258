// This family measures how far the gradients of tasks agree at the present weights: g_i is the
// gradient of the mean loss over the fixed batch's examples of task i, with the outputs that the
// read-out allows, in the stream that the method trains, with respect to all weights (dormant ones
// too), biases and norms.
//   task_gradient_cosine          g_i g_j / (|g_i| |g_j|), mean over pairs i < j of the tasks that
//                                 have begun
//   task_conflict                 share of the pairs whose cosine is negative (Yu et al. 2020)
//   task_gradient_cosine_active, task_conflict_active   the same where the entries of dormant
//                                 weights are left out, as in training they are by methods that
//                                 give them no gradient; of runs with a mask
// A pair with a gradient of zero has no cosine. There are no rows before a second task, of sequence
// models, and of strategies that give each task a net of its own, whose gradients never meet. What
// is held at once, in main memory, is a gradient of the net for each task that has begun.
#include <cmath>

#include "data/tensor.h"
#include "probes/read_net.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// By parameter and task, [R,...] on the CPU, so that a device holds one at a time.
using TaskGradients = std::vector<std::vector<at::Tensor>>;

TaskGradients gradients_by_task(const ProbeInput& input,
                                const std::vector<std::vector<std::int64_t>>& tasks) {
  at::AutoGradMode with_gradient(true);
  Context context = trained_context(input.runs);
  const at::Tensor logits = input.model.forward(input.x, context);
  std::vector<at::Tensor> leaves;
  for (const Parameter* parameter : input.model.parameters()) leaves.push_back(parameter->value);
  TaskGradients gradients(leaves.size());
  for (std::int64_t task = 1; task <= input.task; ++task) {
    const at::Tensor loss = input.shared_loss(logits, shares_of_task(input, tasks, task)).sum();
    const auto found = torch::autograd::grad({loss}, leaves, {}, /*retain_graph=*/true,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t p = 0; p < leaves.size(); ++p) {
      const at::Tensor own = found[p].defined() ? found[p] : torch::zeros_like(leaves[p]);
      gradients[p].push_back(own.detach().to(torch::kCPU));
    }
  }
  return gradients;
}

// Products g_i g_j of one replica, double [T,T].
class TaskProducts {
 public:
  explicit TaskProducts(std::int64_t tasks) : sums_(torch::zeros({tasks, tasks}, torch::kDouble)) {}

  void add(const at::Tensor& gradients) { sums_ += gradients.mm(gradients.t()); }  // [T,n]

  void record(Recorder& rows, std::int64_t r, const std::string& ending) const {
    const auto product = sums_.accessor<double, 2>();
    double sum = 0, negative = 0, pairs = 0;
    for (std::int64_t i = 0; i < sums_.size(0); ++i) {
      for (std::int64_t j = i + 1; j < sums_.size(0); ++j) {
        const double cosine = product[i][j] / std::sqrt(product[i][i] * product[j][j]);
        if (!std::isfinite(cosine)) continue;
        sum += cosine;
        negative += cosine < 0;
        ++pairs;
      }
    }
    rows.whole(r, kWeightsLevel, "task_gradient_cosine" + ending, sum / pairs);
    rows.whole(r, kWeightsLevel, "task_conflict" + ending, negative / pairs);
  }

 private:
  at::Tensor sums_;
};

class InterferenceProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    const auto tasks = tasks_of(input);
    if (tasks.empty() || input.task < 2 || input.task_nets) return rows.finish();
    const LayerMasks masks = current_masks(input.model);
    const BorrowedMasks borrowed(input.model, masks);
    const TaskGradients gradients = gradients_by_task(input, tasks);
    at::NoGradGuard no_grad;
    for (std::size_t r = 0; r < input.runs.size(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      if (input.wants(replica)) record_pairs(input, masks, gradients, replica, rows);
    }
    return rows.finish();
  }

 private:
  static void record_pairs(const ProbeInput& input, const LayerMasks& masks,
                           const TaskGradients& gradients, std::int64_t r, Recorder& rows) {
    const bool masked = has_mask(input.runs[static_cast<std::size_t>(r)]);
    const std::vector<Parameter*> parameters = input.model.parameters();
    const std::vector<Linear*> linears = input.model.linears();
    TaskProducts all(input.task), active(input.task);
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      std::vector<at::Tensor> each;
      for (const at::Tensor& own : gradients[p]) {
        each.push_back(own[r].reshape({-1}).to(torch::kDouble));
      }
      at::Tensor stacked = torch::stack(each);
      all.add(stacked);
      if (!masked) continue;
      for (std::size_t l = 0; l < linears.size(); ++l) {
        if (&linears[l]->weight != parameters[p] || !masks[l].defined()) continue;
        stacked = stacked * masks[l][r].to(torch::kCPU, torch::kDouble);
      }
      active.add(stacked);
    }
    all.record(rows, r, "");
    if (masked) active.record(rows, r, "_active");
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "interference",
     .summary = "not by default; of the gradients of the tasks so far, pair by pair: "
                "task_gradient_cosine, task_conflict, and both of active weights (_active)",
     .cite = "arXiv:2001.06782",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<InterferenceProbe>();
    });

}  // namespace
}  // namespace tandem
