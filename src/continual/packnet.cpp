// PackNet (Mallya and Lazebnik 2018, arXiv 1711.05769): each task trains the weights that are free;
// toward its end each layer keeps, by |w|, a share of those for the task, the others become zero
// and free again, and the task trains on with what it kept. Later tasks compute with the weights of
// earlier ones and never change them, so that a task is read as it was learned: with the weights of
// owners up to its own. Biases, norms and embeddings are the first task's.
//
// Where each task has outputs of its own these are its alone, whole; its softmax is then over them
// in class-IL too, for only who knows the task can choose its net. Among what a sparse topology
// leaves active the free weights are those that its updates move.
#include <cmath>

#include "continual/isolation.h"
#include "data/tensor.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

class Packed : public IsolatedWeights {
 public:
  using IsolatedWeights::IsolatedWeights;

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.read = StrategyNeeds::Read::kTask;
    return needs;
  }

  void before_task(std::int64_t task, bool resumed) override {
    IsolatedWeights::before_task(task, resumed);
    outputs_.reset();
  }

  // In class-IL the outputs of its task, which is the whole batch's.
  at::Tensor outputs(const StepView& view) override {
    const TaskSequence& sequence = view_.sequences.front();
    if (view.allowed.defined() || !sequence.masked_readout) return {};
    if (!outputs_.defined()) {
      outputs_ = torch::zeros(view.logits.sizes(), view.logits.options().dtype(torch::kBool));
      const auto [first, last] = sequence.task_outputs[static_cast<std::size_t>(task() - 1)];
      outputs_.narrow(-1, first, last - first).fill_(true);
    }
    return outputs_;
  }

  std::int64_t turn_at(std::int64_t r, std::int64_t steps) const override {
    const double share = view_.configs[static_cast<std::size_t>(r)].real("retrain_share");
    const auto again = static_cast<std::int64_t>(std::floor(share * static_cast<double>(steps)));
    return steps - again;
  }

  void turn(const std::vector<char>& due) override {
    const at::NoGradGuard no_grad;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      if (due[static_cast<std::size_t>(r)]) pack(r);
    }
  }

  void after_task(std::int64_t /*task*/,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    const at::NoGradGuard no_grad;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      if (trained(r) != task()) pack(r);
    }
  }

  at::Tensor read_values(std::size_t parameter, std::int64_t task) const override {
    if (task >= this->task() || !is_packed(parameter)) return {};
    Parameter& weight = *view_.parameters[parameter];
    const at::Tensor owner = owners(weight);
    return weight.flat().masked_fill(owner.lt(1).logical_or(owner.gt(static_cast<double>(task))),
                                     0);
  }

 private:
  bool is_packed(std::size_t parameter) const {
    for (const StrategyLayer& layer : view_.layers) {
      if (layer.weight == parameter) return true;
    }
    return false;
  }

  // How many of the layer's free weights the task keeps.
  std::int64_t kept(std::int64_t r, std::int64_t free) const {
    const double said = view_.configs[static_cast<std::size_t>(r)].real("task_keep");
    const auto left =
        static_cast<double>(view_.sequences.front().tasks.size()) - static_cast<double>(task() - 1);
    return std::llround((said > 0 ? said : 1 / left) * static_cast<double>(free));
  }

  // The task takes what it keeps.
  void pack(std::int64_t r) {
    std::vector<char> of_layers(view_.parameters.size(), 0);
    for (const StrategyLayer& layer : view_.layers) {
      Parameter& weight = *view_.parameters[layer.weight];
      of_layers[layer.weight] = 1;
      const at::Tensor free = free_weights(layer, r, task());
      at::Tensor own = free.logical_and(active(layer, r));
      if (!has_own_outputs(layer)) {
        const at::Tensor magnitude = weight.segment(weight.flat(), r).abs();
        own = select_rows(magnitude.unsqueeze(0), own.to(torch::kByte).unsqueeze(0),
                          {kept(r, own.sum().item<std::int64_t>())}, /*largest=*/true)[0]
                  .ne(0);
      }
      begin_anew(weight, r, free.logical_and(own.logical_not()));
      owners(weight, r).masked_fill_(own, static_cast<double>(task()));
      if (layer.bias < 0 || !has_own_outputs(layer)) continue;
      of_layers[static_cast<std::size_t>(layer.bias)] = 1;
      Parameter& bias = *view_.parameters[static_cast<std::size_t>(layer.bias)];
      owners(bias, r).masked_fill_(outputs_of(layer.outputs, task()), static_cast<double>(task()));
    }
    for (std::size_t p = 0; p < view_.parameters.size(); ++p) {
      if (of_layers[p]) continue;
      const at::Tensor owner = owners(*view_.parameters[p], r);
      owner.masked_fill_(owner.eq(0), static_cast<double>(task()));
    }
    rest(r);
    train(r, task());
  }

  at::Tensor outputs_;  // of the task, within it
};

std::unique_ptr<Strategy> make_packnet(StrategyView view) {
  return std::make_unique<Packed>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "packnet",
     .summary = "PackNet: each task keeps a share of the free weights, which later "
                "tasks read and never change",
     .cite = "1711.05769",
     .uses = {"task_keep", "retrain_share"},
     .file = __FILE__},
    make_packnet);

}  // namespace
}  // namespace tandem
