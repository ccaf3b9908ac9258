// Complementary learning systems with experience replay (Arani, Sarfraz and Zonooz 2022, arXiv
// 2201.12604; its authors' code at 73f3e63): beside the trained weights w lie two running averages
// of them, a plastic and a stable one, each of which a step updates with a probability of its own,
//   average <- a average + (1 - a) w,   a = min(1 - 1 / (step + 1), decay), steps from 1.
// Replayed examples' outputs z are pulled to those of the average that gives their label the higher
// probability,
//   L = CE(current and replayed rows) + lambda MSE(z of replayed rows, z of that average),
// and the net is read through the stable average. A weight that is new to the topology has averages
// of zero, which follow it. In task-IL only the outputs of the example's task are compared.
#include "config/seeds.h"
#include "continual/replay_buffer.h"
#include "data/tensor.h"
#include "topology/segments.h"

namespace tandem {
namespace {

constexpr std::uint64_t kUpdates = 16;  // of the run's stream "replay": whether a step updates
const char* const kAverages[] = {"plastic", "stable"};

class Complementary : public BufferReplay {
 public:
  explicit Complementary(StrategyView view)
      : BufferReplay(std::move(view)),
        lambda_(per_replica(view_, [](const Config& each) { return each.real("stability"); })) {}

  StrategyNeeds needs() const override {
    return {.replays = replays(1),
            .roles = true,
            .passed_replayed = 2,
            .looks_back = fills_at_ends(),
            .least_buffer = least_buffer(),
            .read = StrategyNeeds::Read::kAverage,
            .numbers = 2};
  }

  void before_task(std::int64_t task, bool resumed) override {
    const at::NoGradGuard no_grad;
    for (Parameter* parameter : view_.parameters) {
      for (const char* which : kAverages) {
        const at::Tensor average = slot(*parameter, which);
        if (task == 1 && !resumed) average.copy_(parameter->flat());
      }
    }
  }

  // The shares 1 - a of the trained weights.
  void numbers(std::int64_t r, const StepPlace& place, double* own) override {
    const std::int64_t step = place.step;
    const Config& config = view_.configs[static_cast<std::size_t>(r)];
    const RandomStream stream{
        sub_key(sub_key(run_key(config, "replay"), kUpdates), static_cast<std::uint64_t>(step))};
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string which = kAverages[i];
      if (stream.uniform(i) >= config.real(which + "_updates")) continue;
      own[i] = std::max(1 / static_cast<double>(step + 2), 1 - config.real(which + "_decay"));
    }
  }

  at::Tensor role_weights(const StepView& view) const override { return one_mean(view); }

  at::Tensor loss(const StepView& view) override {
    if (!seen_.is_same(view.x)) {  // passes of one step have the same batch
      seen_ = view.x;
      const RoleColumns& columns = view.roles[1];
      const at::Tensor x = view.x.narrow(1, columns.first, columns.count);
      for (std::size_t i = 0; i < 2; ++i) {
        std::vector<at::Tensor> values;
        for (Parameter* each : view_.parameters) values.push_back(slot(*each, kAverages[i]));
        averaged_[i] = view_.services->logits_with(values, x);
      }
    }
    const at::Tensor label = view.of(1, view.target).unsqueeze(-1);
    const at::Tensor allowed = view.allowed.defined() ? view.of(1, view.allowed) : at::Tensor();
    const at::Tensor surer =
        probability(averaged_[1], label, allowed).gt(probability(averaged_[0], label, allowed));
    return lambda_ * mean_square(view, torch::where(surer, averaged_[1], averaged_[0]));
  }

  void remember(const StepView& view) override {
    shares_ = view.numbers;
    seen_.reset();
    averaged_[0].reset();
    averaged_[1].reset();
  }

  void after_update() override {
    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < 2; ++i) {
      const at::Tensor own = shares_.select(1, static_cast<std::int64_t>(i)).to(lambda_.options());
      for (Parameter* parameter : view_.parameters) {
        const at::Tensor average = slot(*parameter, kAverages[i]);
        average.add_((parameter->flat() - average) *
                     broadcast_to_segments(own, parameter->segments()));
      }
    }
    shares_.reset();
  }

  at::Tensor read_values(std::size_t parameter, std::int64_t /*task*/) const override {
    // Before the first task has begun there are none: the net is as it starts.
    const Parameter& own = *view_.parameters[parameter];
    const auto stable = own.slots.find(slot_name(kAverages[1]));
    return stable == own.slots.end() ? at::Tensor() : stable->second.values;
  }

 private:
  static std::string slot_name(const char* which) { return std::string("cls_er.") + which; }
  static at::Tensor slot(Parameter& parameter, const char* which) {
    const at::Tensor values = parameter.slot(slot_name(which));
    parameter.slots.at(slot_name(which)).lasting = true;
    return values;
  }

  // Of the label, among the outputs that take part, [R,N,1].
  static at::Tensor probability(const at::Tensor& logits, const at::Tensor& label,
                                const at::Tensor& allowed) {
    const at::Tensor among =
        allowed.defined()
            ? logits.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity())
            : logits;
    return torch::softmax(among, -1).gather(-1, label);
  }

  at::Tensor lambda_;                       // [R]
  at::Tensor seen_, averaged_[2], shares_;  // within a step
};

std::unique_ptr<Strategy> make_cls_er(StrategyView view) {
  return std::make_unique<Complementary>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "cls_er",
     .summary = "CLS-ER: replayed outputs are pulled to those of two running averages of the "
                "weights; read through the stable one",
     .cite = "2201.12604",
     .defaults = {{"stability", "0.1"}},
     .uses = {"buffer", "buffer_rule", "replay_batch", "stability", "plastic_updates",
              "plastic_decay", "stable_updates", "stable_decay"},
     .file = __FILE__},
    make_cls_er);

}  // namespace
}  // namespace tandem
