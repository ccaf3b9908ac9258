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

class Packed : public SettledWeights {
 public:
  using SettledWeights::SettledWeights;

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.read = StrategyNeeds::Read::kTask;
    needs.weights_rest = true;
    return needs;
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
  void settle(std::int64_t r) override {
    for (const StrategyLayer& layer : view_.layers) {
      if (has_own_outputs(layer)) continue;
      Parameter& weight = *view_.parameters[layer.weight];
      const at::Tensor free = free_weights(layer, r, task());
      const at::Tensor candidates = free.logical_and(active(layer, r));
      const at::Tensor own = select_rows(weight.segment(weight.flat(), r).abs().unsqueeze(0),
                                         candidates.to(torch::kByte).unsqueeze(0),
                                         {kept(r, candidates.sum().item<std::int64_t>())},
                                         /*largest=*/true)[0]
                                 .ne(0);
      begin_anew(weight, r, free.logical_and(own.logical_not()));
      owners(weight, r).masked_fill_(own, static_cast<double>(task()));
    }
    own_the_rest(r);
    rest(r);
    train(r, task());
  }
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
