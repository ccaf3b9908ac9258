// ER with asymmetric cross-entropy (Caccia et al. 2022, arXiv 2104.05025, eq. 4): current rows
// compete among the classes of the current batch alone, replayed rows among all; the two means are
// added.
#include "continual/replay_buffer.h"
#include "data/tensor.h"

namespace tandem {
namespace {

struct AsymmetricReplay : BufferReplay {
  using BufferReplay::BufferReplay;

  StrategyNeeds needs() const override {
    return {.replays = replays(1),
            .roles = true,
            .looks_back = fills_at_ends(),
            .least_buffer = least_buffer()};
  }

  at::Tensor outputs(const StepView& view) override {
    const at::Tensor target = view.of(0, view.target);
    const std::int64_t replicas = target.size(0), classes = view.logits.size(-1);
    const at::Tensor counts = view.of(0, view.mean);
    const at::Tensor present = torch::zeros({replicas, classes}, counts.options())
                                   .scatter_add_(1, target, counts)
                                   .gt(0)
                                   .unsqueeze(1);  // [R,1,C]
    at::Tensor allowed =
        view.allowed.defined()
            ? view.allowed.clone()
            : torch::ones({replicas, view.target.size(1), classes}, present.options());
    view.of(0, allowed).logical_and_(present);
    return allowed;
  }
};

std::unique_ptr<Strategy> make_er_ace(StrategyView view) {
  return std::make_unique<AsymmetricReplay>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "er_ace",
     .summary = "replay with asymmetric cross-entropy: new classes do not push old "
                "ones down",
     .cite = "2104.05025",
     .uses = {"buffer", "buffer_rule", "replay_batch"},
     .file = __FILE__},
    make_er_ace);

}  // namespace
}  // namespace tandem
