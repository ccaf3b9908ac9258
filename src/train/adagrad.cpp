// Adagrad (Duchi, Hazan and Singer, JMLR 2011): each weight's gradient is divided by the root of
// the sum of the squares of all its gradients so far, plus epsilon. Slot: squares. A weight that is
// new to the topology begins with none.
#include "data/tensor.h"
#include "train/optimizer.h"

namespace tandem {
namespace {

class Adagrad : public Optimizer {
 public:
  explicit Adagrad(const std::vector<Config>& configs) : Optimizer(configs) {
    rule_.adagrad = true;
    rule_.epsilon = configs.front().real("adagrad_epsilon");
    rule_.decoupled_decay = configs.front().text("decay_mode") == "decoupled";
  }

 protected:
  void prepare(Parameter& parameter) override { parameter.slot("squares"); }

  void update(Parameter& parameter, const UpdateTensors& tensors) override {
    kernels::SgdRule rule = rule_;
    rule.decays = parameter.decays;
    sgd_update(tensors, parameter.slot("squares"), rule);
  }

 private:
  kernels::SgdRule rule_;
};

TANDEM_REGISTERED =
    optimizers().add({.kind = "optimizer",
                      .name = "adagrad",
                      .summary = "gradients divided by the root of the sum of their squares so far",
                      .cite = "Duchi et al., JMLR 2011",
                      .defaults = {{"lr", "0.01"}},
                      .uses = {"adagrad_epsilon"},
                      .file = __FILE__},
                     [](const std::vector<Config>& configs) -> std::unique_ptr<Optimizer> {
                       return std::make_unique<Adagrad>(configs);
                     });

}  // namespace
}  // namespace tandem
