// iCaRL (Rebuffi et al. 2017, arXiv 1611.07725): outputs are K binary classifiers, those of earlier
// classes are pulled to what the net of the last task's end says, and a few exemplars of each class
// are kept and replayed. With g = sigmoid(z) over the classes seen so far, the loss of a row is
//   - sum_{new c} [y_c log g_c + (1 - y_c) log(1 - g_c)]
//   - sum_{old c} [q_c log g_c + (1 - q_c) log(1 - g_c)],   q = sigmoid(z of the earlier net),
// and its mean over current and replayed rows. It takes the place of the cross-entropy.
//
// When a task ends each class has m = buffer / (classes seen) exemplars: new ones by herding, the
// k-th being the example that brings the mean of the first k features nearest to the class's mean
// feature; old ones keep their first m. Features are the last hidden ones, divided by their norm.
// The net is read by the class whose exemplars' mean, divided by its norm, is nearest.
//
// The paper trains on the union of the task and the exemplars; here a step replays so many of these
// (`replay_batch`), as strategies with a buffer do.
#include <algorithm>

#include "config/seeds.h"
#include "continual/replay_buffer.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "data/example.h"
#include "data/tensor.h"
#include "nn/elementwise.h"

namespace tandem {
namespace {

constexpr const char* kExemplars = "icarl.exemplars";
constexpr const char* kCounts = "icarl.counts";

// The first m of the order in which herding takes examples with features [n,H] in double precision.
std::vector<std::int64_t> herd(const at::Tensor& features, std::int64_t m) {
  const at::Tensor mean = features.mean(0), squares = features.square().sum(1);
  at::Tensor sum = torch::zeros_like(mean);
  at::Tensor taken = torch::zeros({features.size(0)}, torch::kFloat64);
  std::vector<std::int64_t> order;
  m = std::min(m, features.size(0));
  for (std::int64_t k = 1; k <= m; ++k) {
    // || k mean - (sum + x) ||^2 without what all have in common.
    const at::Tensor away = squares - 2 * features.mv(mean * static_cast<double>(k) - sum) + taken;
    const auto best = away.argmin().item<std::int64_t>();
    order.push_back(best);
    sum = sum + features[best];
    taken[best] = std::numeric_limits<double>::infinity();
  }
  return order;
}

class ClassifierOfExemplars : public Strategy {
 public:
  explicit ClassifierOfExemplars(StrategyView view)
      : Strategy(std::move(view)), none_(torch::zeros({view_.replicas, 2}, view_.options)) {
    for (const Config& each : view_.configs) rows_ = std::max(rows_, replay_rows(each));
    for (const TaskSequence& each : view_.sequences) {
      exemplars_.emplace_back(static_cast<std::size_t>(each.outputs));
    }
  }

  StrategyNeeds needs() const override {
    return {.replays = {{rows_}},
            .roles = true,
            .snapshots = 1,
            .passed_rows = 1,
            .passed_replayed = 1,
            .least_buffer = view_.sequences.empty() ? 0 : view_.sequences.front().outputs,
            .read = StrategyNeeds::Read::kNearestMean,
            .own_outputs = true};
  }

  void batch(std::int64_t r, std::int64_t step, std::vector<BatchRow>& /*current*/,
             std::vector<std::vector<BatchRow>>& replays) override {
    const Config& config = view_.configs[static_cast<std::size_t>(r)];
    const std::vector<std::int64_t> all = listed(r);
    if (all.empty()) return;
    draw_rows({sub_key(run_key(config, "replay"), static_cast<std::uint64_t>(step))},
              replay_rows(config), all, replays.front());
  }

  void before_task(std::int64_t task, bool /*resumed*/) override {
    // Outputs are the same columns in every run of a group.
    const TaskSequence& sequence = view_.sequences.front();
    const auto up_to = [&](std::int64_t last_task) {
      at::Tensor own = torch::zeros({sequence.outputs}, torch::kBool);
      for (std::int64_t t = 0; t < last_task; ++t) {
        const auto [first, last] = sequence.task_outputs[static_cast<std::size_t>(t)];
        own.narrow(0, first, last - first).fill_(true);
      }
      return own.to(view_.options.device());
    };
    seen_ = up_to(task);
    old_ = task > 1 ? up_to(task - 1) : at::Tensor();
  }

  // Its own loss takes the place of the cross-entropy of either role.
  at::Tensor role_weights(const StepView& /*view*/) const override { return none_; }

  at::Tensor loss(const StepView& view) override {
    at::Tensor wanted =
        torch::zeros_like(view.logits.detach()).scatter_(-1, view.target.unsqueeze(-1), 1.0);
    if (old_.defined()) {
      if (!passed_.is_same(view.x)) {  // passes of one step have the same batch
        passed_ = view.x;
        earlier_ = sigmoid_reproducible(view_.services->snapshot_logits(0, view.x));
      }
      wanted = torch::where(old_, earlier_, wanted);
    }
    const at::Tensor each = binary_cross_entropy_reproducible(view.logits, wanted);
    const at::Tensor part = view.allowed.defined() ? seen_.logical_and(view.allowed) : seen_;
    const at::Tensor of_rows = (each * part.to(each.scalar_type())).sum(-1);
    const at::Tensor share = BufferReplay::one_mean(view);
    at::Tensor sum = torch::zeros({view_.replicas}, view_.options);
    for (const std::size_t role : {0, 1}) {
      const at::Tensor own = (view.of(role, of_rows) * view.of(role, view.mean)).sum(1);
      sum = sum + share.select(1, static_cast<std::int64_t>(role)) * own;
    }
    return sum;
  }

  void remember(const StepView& /*view*/) override {
    passed_.reset();
    earlier_.reset();
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& examples) override {
    const TaskSequence& sequence = view_.sequences.front();
    const auto [first, last] = sequence.task_outputs[static_cast<std::size_t>(task - 1)];
    for (std::size_t r = 0; r < exemplars_.size(); ++r) {
      const auto kept = static_cast<std::size_t>(share(r, task));
      for (auto& own : exemplars_[r]) own.resize(std::min(own.size(), kept));
    }
    for (std::int64_t output = first; output < last; ++output) {
      std::vector<std::vector<std::int64_t>> own(examples.size());
      for (std::size_t r = 0; r < examples.size(); ++r) {
        for (const std::int64_t each : examples[r]) {
          const std::int64_t label = view_.class_of(each);
          if (view_.sequences[r].output_of(task, label) == output) own[r].push_back(each);
        }
      }
      const std::vector<at::Tensor> features = view_.services->features(own);
      for_each_index(own.size(), host_threads(), [&](std::size_t r) {
        const at::NoGradGuard no_grad;
        std::vector<std::int64_t>& chosen = exemplars_[r][static_cast<std::size_t>(output)];
        chosen.clear();
        for (const std::int64_t place : herd(unit_features(features[r]), share(r, task))) {
          chosen.push_back(own[r][static_cast<std::size_t>(place)]);
        }
      });
    }
    view_.services->take_snapshot(0);
  }

  std::vector<std::vector<std::int64_t>> exemplars(std::int64_t r) const override {
    return exemplars_[static_cast<std::size_t>(r)];
  }

  std::int64_t examples_held(std::int64_t r) const override {
    return static_cast<std::int64_t>(listed(r).size());
  }

  NamedTensors save(std::int64_t r) const override {
    std::vector<std::int64_t> counts;
    for (const auto& own : exemplars_[static_cast<std::size_t>(r)]) {
      counts.push_back(static_cast<std::int64_t>(own.size()));
    }
    return {{kCounts, integers_tensor(counts)}, {kExemplars, integers_tensor(listed(r))}};
  }

  // Read in the order of names: the counts are there before the exemplars.
  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    auto& own = exemplars_[static_cast<std::size_t>(r)];
    const std::vector<std::int64_t> numbers = integers_in(values);
    std::size_t held = 0;
    for (const auto& each : own) held += each.size();
    if (name == kCounts && numbers.size() == own.size()) {
      for (std::size_t c = 0; c < own.size(); ++c) {
        own[c].assign(static_cast<std::size_t>(numbers[c]), 0);
      }
    } else if (name == kExemplars && numbers.size() == held) {
      auto next = numbers.begin();
      for (auto& each : own) {
        for (std::int64_t& example : each) example = *next++;
      }
    } else {
      refuse_state("icarl", name, values,
                   "icarl.counts with one for each output and icarl.exemplars with their sum");
    }
  }

 private:
  std::vector<std::int64_t> listed(std::int64_t r) const {
    std::vector<std::int64_t> all;
    for (const auto& own : exemplars_[static_cast<std::size_t>(r)]) {
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }

  // Exemplars of a class once a task has ended.
  std::int64_t share(std::size_t r, std::int64_t task) const {
    std::int64_t classes = 0;
    for (std::int64_t t = 0; t < task; ++t) {
      const auto [first, last] = view_.sequences[r].task_outputs[static_cast<std::size_t>(t)];
      classes += last - first;
    }
    return view_.configs[r].integer("buffer") / classes;
  }

  std::int64_t rows_ = 0;
  std::vector<std::vector<std::vector<std::int64_t>>> exemplars_;  // [R][outputs]
  at::Tensor seen_, old_;        // bool [C], outputs of the tasks so far, and before this one
  at::Tensor none_;              // [R,2], zeros
  at::Tensor passed_, earlier_;  // within a step
};

std::unique_ptr<Strategy> make_icarl(StrategyView view) {
  return std::make_unique<ClassifierOfExemplars>(std::move(view));
}

TANDEM_REGISTERED =
    strategies().add({.kind = "strategy",
                      .name = "icarl",
                      .summary = "iCaRL: binary classifiers with distillation, exemplars by "
                                 "herding; read by the nearest mean of exemplars' features",
                      .cite = "1611.07725",
                      .uses = {"buffer", "replay_batch"},
                      .file = __FILE__},
                     make_icarl);

}  // namespace
}  // namespace tandem
