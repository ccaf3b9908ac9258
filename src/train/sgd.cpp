// Stochastic gradient descent with momentum (Nesterov's as an option). Slot: momentum.
#include "data/tensor.h"
#include "train/optimizer.h"

namespace tandem {
namespace {

class Sgd : public Optimizer {
 public:
  explicit Sgd(const std::vector<Config>& configs) : Optimizer(configs) {
    rule_.nesterov = configs.front().flag("nesterov");
    rule_.decoupled_decay = configs.front().text("decay_mode") == "decoupled";
    for (const Config& each : configs) momentum_ = momentum_ || each.real("momentum") != 0;
  }

 protected:
  void prepare(Parameter& parameter) override {
    if (momentum_) parameter.slot("momentum");
  }

  void update(Parameter& parameter, const UpdateTensors& tensors) override {
    kernels::SgdRule rule = rule_;
    rule.decays = parameter.decays;
    sgd_update(tensors, momentum_ ? parameter.slot("momentum") : at::Tensor(), rule);
  }

 private:
  kernels::SgdRule rule_;
  bool momentum_ = false;
};

TANDEM_REGISTERED =
    optimizers().add({.kind = "optimizer",
                      .name = "sgd",
                      .summary = "gradient descent with momentum",
                      .cite = "",
                      .uses = {"momentum", "nesterov"},
                      .file = __FILE__},
                     [](const std::vector<Config>& configs) -> std::unique_ptr<Optimizer> {
                       return std::make_unique<Sgd>(configs);
                     });

}  // namespace
}  // namespace tandem
