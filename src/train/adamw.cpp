// AdamW (Loshchilov & Hutter 2019); with decay_mode = coupled it is Adam with L2. Slots: first,
// second and, where the topology grows weights or tasks reset the optimizer, count: bias correction
// by each weight's own age. With adam_age = run, as in the ports, a fresh slot is corrected as if
// it were as old as the run: its first step is (1 - beta1) / sqrt(1 - beta2) = 3.16 times lr in
// place of lr.
#include "data/tensor.h"
#include "topology/connections.h"
#include "train/optimizer.h"

namespace tandem {
namespace {

class AdamW : public Optimizer {
 public:
  explicit AdamW(const std::vector<Config>& configs) : Optimizer(configs) {
    const Config& config = configs.front();
    rule_.beta1 = config.real("beta1");
    rule_.beta2 = config.real("beta2");
    rule_.epsilon = config.real("adam_epsilon");
    rule_.decoupled_decay = config.text("decay_mode") == "decoupled";
    own_age_ = config.text("adam_age") == "weight";
  }

 protected:
  void prepare(Parameter& parameter) override {
    parameter.slot("first");
    parameter.slot("second");
    if (counts(parameter)) parameter.slot("count");
  }

  void update(Parameter& parameter, const UpdateTensors& tensors) override {
    kernels::AdamRule rule = rule_;
    rule.decays = parameter.decays;
    adam_update(tensors, parameter.slot("first"), parameter.slot("second"),
                counts(parameter) ? parameter.slot("count") : at::Tensor(), rule);
  }

 private:
  bool counts(const Parameter& parameter) const {
    const bool of_connections = counts_connections_ && parameter.connections != nullptr;
    return own_age_ && (of_connections || counts_all_);
  }

  kernels::AdamRule rule_;
  bool own_age_ = true;
};

TANDEM_REGISTERED = optimizers().add(
    {.kind = "optimizer",
     .name = "adamw",
     .summary = "Adam with decoupled weight decay; bias correction by each weight's own age",
     .cite = "arXiv:1711.05101",
     .defaults = {{"decay_mode", "decoupled"}, {"lr", "0.001"}},
     .uses = {"beta1", "beta2", "adam_epsilon", "adam_age"},
     .file = __FILE__},
    [](const std::vector<Config>& configs) -> std::unique_ptr<Optimizer> {
      return std::make_unique<AdamW>(configs);
    });

}  // namespace
}  // namespace tandem
