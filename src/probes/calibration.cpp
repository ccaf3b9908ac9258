// This family measures what the net's predictions on the fixed batch claim and whom they favour, as
// the net is read: over the examples (or tokens) of the tasks that have begun. An example's
// confidence is its largest probability among the outputs that it is read with.
//   ece           sum over 15 bins of equal width of |B| / n |accuracy(B) - mean confidence(B)|, B
//                 the examples whose confidence is in (i/15, (i+1)/15]: expected calibration error
//                 (Guo et al. 2017)
//   recency_bias  share of predictions that are classes of the latest task minus the share of
//                 examples that are, from the second task on: 0 where the head is fair. Where
//                 outputs of all tasks compete: in class-incremental learning, through a net of all
//                 tasks. Where all tasks train at once the latest is the last
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "data/gather.h"
#include "data/tensor.h"
#include "probes/read_net.h"
#include "probes/recorder.h"

namespace tandem {
namespace {

constexpr std::size_t kConfidenceBins = 15;

// Of the examples of one replica that count, on the CPU.
struct Predictions {
  std::vector<double> confidence;
  std::vector<std::int64_t> predicted, target;
};

double calibration_error(const Predictions& all) {
  std::array<double, kConfidenceBins> excess = {};  // sums of correct - confidence
  for (std::size_t i = 0; i < all.confidence.size(); ++i) {
    const double place = std::ceil(all.confidence[i] * static_cast<double>(kConfidenceBins)) - 1;
    const auto bin = std::min(kConfidenceBins - 1, static_cast<std::size_t>(std::max(0.0, place)));
    excess[bin] += (all.predicted[i] == all.target[i] ? 1.0 : 0.0) - all.confidence[i];
  }
  double sum = 0;
  for (const double each : excess) sum += std::abs(each);
  return sum / static_cast<double>(all.confidence.size());
}

double recency(const Predictions& all, const std::vector<std::int64_t>& task_of_output,
               std::int64_t task) {
  double sum = 0;
  for (std::size_t i = 0; i < all.target.size(); ++i) {
    sum += task_of_output[static_cast<std::size_t>(all.predicted[i])] == task;
    sum -= task_of_output[static_cast<std::size_t>(all.target[i])] == task;
  }
  return sum / static_cast<double>(all.target.size());
}

class CalibrationProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    const auto tasks = tasks_of(input);
    // Where it is not known which examples are of tasks so far, nothing is said of them.
    if (tasks.empty() && input.several_tasks) return rows.finish();
    const at::Tensor all_logits = read_net(input, tasks).logits;
    const at::Tensor logits =
        asked_rows(all_logits.reshape({all_logits.size(0), -1, all_logits.size(-1)}), input.asked);
    const at::Tensor target = asked_rows(input.target, input.asked);
    const at::Tensor allowed = outputs_read(input, tasks);
    const bool compete = !allowed.defined() && !input.task_nets && !input.task_of_output.empty();
    for (std::size_t r = 0; r < input.runs.size(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      if (!input.wants(replica)) continue;
      const Predictions all = predictions(
          logits[replica], allowed.defined() ? allowed[replica] : at::Tensor(), target[replica],
          tasks.empty() ? std::vector<std::int64_t>() : tasks[r], input.task);
      rows.whole(replica, "", "ece", calibration_error(all));
      if (!compete || tasks.empty() || input.task < 2) continue;
      rows.whole(replica, "", "recency_bias", recency(all, input.task_of_output[r], input.task));
    }
    return rows.finish();
  }

 private:
  // logits and allowed are [N,C], and target [N]; no tasks: all examples count.
  static Predictions predictions(const at::Tensor& logits, const at::Tensor& allowed,
                                 const at::Tensor& target, const std::vector<std::int64_t>& tasks,
                                 std::int64_t last) {
    at::Tensor seen = logits.to(torch::kDouble);
    if (allowed.defined()) {
      seen = seen.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
    }
    const auto [confidence, predicted] = torch::softmax(seen, -1).cpu().max(-1);
    const at::Tensor right = target.cpu().contiguous();
    const auto* shares = confidence.const_data_ptr<double>();
    const auto* guesses = predicted.const_data_ptr<std::int64_t>();
    const auto* targets = right.const_data_ptr<std::int64_t>();
    Predictions all;
    for (std::int64_t i = 0; i < right.numel(); ++i) {
      if (!tasks.empty() && tasks[static_cast<std::size_t>(i)] > last) continue;
      all.confidence.push_back(shares[i]);
      all.predicted.push_back(guesses[i]);
      all.target.push_back(targets[i]);
    }
    return all;
  }
};

TANDEM_REGISTERED = probes().add({.kind = "probe",
                                  .name = "calibration",
                                  .summary = "not by default; of the predictions on the tasks so "
                                             "far: ece, recency_bias",
                                  .cite = "arXiv:1706.04599",
                                  .file = __FILE__},
                                 [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
                                   return std::make_unique<CalibrationProbe>();
                                 });

}  // namespace
}  // namespace tandem
