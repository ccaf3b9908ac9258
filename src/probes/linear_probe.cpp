// This family tells forgetting of the head from forgetting of the representation: a linear
// classifier is fitted to the last hidden features of half of the fixed batch's examples of each
// task that has begun, every second one, and scored on the other half beside the net's own head.
//   linear_probe_accuracy  of the classifier, mean over tasks
//   head_accuracy          of the net on the same examples, likewise
// The classifier is ridge regression of the targets y, 1 at the right output and 0 elsewhere, on
// the features x, both centred over the n examples that it is fitted to,
//   W = (X'X + lambda I)^-1 X'Y,
// in double precision, lambda a thousandth of the mean of the eigenvalues of X'X that may differ
// from 0, |X|_F^2 / (1000 min(n, H)). It is one classifier for all these tasks, as the head is,
// and one for each task where tasks have heads or nets of their own; it then chooses among the
// outputs that the task is read with. A run of one task has its rows as well, a sequence model has
// none.
#include <algorithm>
#include <limits>
#include <map>

#include "data/tensor.h"
#include "probes/read_net.h"
#include "probes/recorder.h"

namespace tandem {
namespace {

constexpr double kRidgeShare = 1e-3;

class RidgeClassifier {
 public:
  // features [n,H] and targets [n,C], double.
  RidgeClassifier(const at::Tensor& features, const at::Tensor& targets)
      : feature_mean_(features.mean(0)), target_mean_(targets.mean(0)) {
    const at::Tensor x = features - feature_mean_, y = targets - target_mean_;
    const std::int64_t smaller = std::min(x.size(0), x.size(1));
    const double energy = x.square().sum().item<double>();
    if (energy == 0) return;
    const at::Tensor ridge =
        kRidgeShare * energy / static_cast<double>(smaller) * torch::eye(smaller, torch::kDouble);
    // (X'X + lambda I)^-1 X' = X' (XX' + lambda I)^-1, whichever is smaller.
    weights_ = x.size(0) < x.size(1) ? x.t().mm(at::linalg_solve(x.mm(x.t()) + ridge, y))
                                     : at::linalg_solve(x.t().mm(x) + ridge, x.t().mm(y));
  }

  at::Tensor scores(const at::Tensor& features) const {  // [m,C]
    if (!weights_.defined()) return target_mean_.expand({features.size(0), -1});
    return (features - feature_mean_).mm(weights_) + target_mean_;
  }

 private:
  at::Tensor feature_mean_, target_mean_;
  at::Tensor weights_;  // [H,C]; undefined: the features stand still
};

// Of one replica, on the CPU: features [N,H] and logits [N,C] in double, target [N], and the
// outputs that each example is read with, bool [N,C].
struct LastLayer {
  at::Tensor features, logits, target, allowed;

  double accuracy(const at::Tensor& scores, const at::Tensor& places) const {
    const at::Tensor among = scores.masked_fill(allowed.index_select(0, places).logical_not(),
                                                -std::numeric_limits<double>::infinity());
    return among.argmax(1)
        .eq(target.index_select(0, places))
        .to(torch::kDouble)
        .mean()
        .item<double>();
  }
  RidgeClassifier fit(const std::vector<std::int64_t>& fitted) const {
    const at::Tensor places = at::tensor(fitted, at::kLong);
    return {features.index_select(0, places),
            torch::one_hot(target.index_select(0, places), logits.size(1)).to(torch::kDouble)};
  }
};

// The two halves of a task's examples.
struct ProbeHalves {
  std::vector<std::int64_t> fitted, scored;
};

class LinearProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    if (input.model.sites(Level::kAttention) > 0) return rows.finish();
    const auto tasks = tasks_of(input);
    const NetReading now = read_net(input, tasks);
    if (now.activations.empty()) return rows.finish();
    const at::Tensor allowed = outputs_read(input, tasks);
    for (std::size_t r = 0; r < input.runs.size(); ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      if (!input.wants(replica)) continue;
      LastLayer last;
      last.features = now.activations.back().second[replica].to(torch::kCPU, torch::kDouble);
      last.logits = now.logits[replica].to(torch::kCPU, torch::kDouble);
      last.target = input.target[replica].cpu();
      last.allowed = allowed.defined() ? allowed[replica].cpu()
                                       : torch::ones(last.logits.sizes(), torch::kBool);
      const std::vector<std::int64_t> whole(static_cast<std::size_t>(last.target.numel()), 1);
      const bool apart = allowed.defined() || input.task_nets;
      record_accuracy(rows, replica, last, halves_of(tasks.empty() ? whole : tasks[r], input.task),
                      apart);
    }
    return rows.finish();
  }

 private:
  static std::vector<ProbeHalves> halves_of(const std::vector<std::int64_t>& tasks,
                                            std::int64_t last) {
    std::vector<ProbeHalves> all;
    for (const auto& [task, places] : places_by_task(tasks, last)) {
      if (places.size() < 2) continue;
      ProbeHalves& own = all.emplace_back();
      for (std::size_t i = 0; i < places.size(); ++i) {
        (i % 2 == 0 ? own.fitted : own.scored).push_back(places[i]);
      }
    }
    return all;
  }

  static void record_accuracy(Recorder& rows, std::int64_t r, const LastLayer& last,
                              const std::vector<ProbeHalves>& tasks, bool apart) {
    if (tasks.empty()) return;
    std::vector<std::int64_t> of_all;
    for (const ProbeHalves& each : tasks) {
      of_all.insert(of_all.end(), each.fitted.begin(), each.fitted.end());
    }
    const RidgeClassifier shared = last.fit(of_all);
    double probed = 0, head = 0;
    for (const ProbeHalves& each : tasks) {
      const at::Tensor places = at::tensor(each.scored, at::kLong);
      const at::Tensor features = last.features.index_select(0, places);
      const RidgeClassifier& own = apart ? last.fit(each.fitted) : shared;
      probed += last.accuracy(own.scores(features), places);
      head += last.accuracy(last.logits.index_select(0, places), places);
    }
    const auto count = static_cast<double>(tasks.size());
    rows.whole(r, "", "linear_probe_accuracy", probed / count);
    rows.whole(r, "", "head_accuracy", head / count);
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "linear_probe",
     .summary = "not by default; of a linear classifier on the last hidden features, and of the "
                "net's own head: linear_probe_accuracy, head_accuracy",
     .cite = "arXiv:1610.01644",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<LinearProbe>();
    });

}  // namespace
}  // namespace tandem
