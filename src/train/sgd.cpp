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

  void prepare(Parameter& parameter) override {
    if (momentum_) parameter.slot("momentum");
  }

 protected:
  void update(Parameter& parameter, const kernels::UpdateMasks& masks,
              const std::vector<kernels::ReplicaUpdate>& replicas) override {
    const at::Tensor weight = parameter.flat(), gradient = parameter.value.grad();
    const at::Tensor momentum = momentum_ ? parameter.slot("momentum") : at::Tensor();
    const auto count = static_cast<std::int64_t>(replicas.size());
    const std::int64_t n = weight.numel() / count;
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      kernels::sgd_update<T>(weight.data_ptr<T>(), gradient.data_ptr<T>(),
                             momentum_ ? momentum.data_ptr<T>() : nullptr, masks, n,
                             replicas.data(), count, rule_);
    };
    weight.scalar_type() == torch::kFloat32 ? run(0.0f) : run(0.0);
  }

 private:
  kernels::SgdRule rule_;
  bool momentum_ = false;
};

const bool registered =
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
