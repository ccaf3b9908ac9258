// Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211): a replayed example's outputs are
// pulled to what they were when it entered the buffer,
//   DER    L = CE(current) + alpha MSE(z(replayed), stored z)
//   DER++  L = CE(current) + alpha MSE(z(replayed), stored z) + beta CE(replayed too, drawn anew)
// with the mean square over rows and outputs. `stability` is alpha, `replay_weight` is beta. In
// task-IL only the outputs of the example's task are compared, which are those that its loss sees.
#include "continual/replay_buffer.h"
#include "data/tensor.h"

namespace tandem {
namespace {

class DarkReplay : public BufferReplay {
 public:
  DarkReplay(StrategyView view, bool replays_labels)
      : BufferReplay(std::move(view)), replays_labels_(replays_labels) {
    alpha_ = per_replica(view_, [](const Config& each) { return each.real("stability"); });
    const at::Tensor none = torch::zeros_like(alpha_), one = torch::ones_like(alpha_);
    std::vector<at::Tensor> weights = {one, none};
    if (replays_labels_) {
      weights.push_back(
          per_replica(view_, [](const Config& each) { return each.real("replay_weight"); }));
    }
    role_weights_ = torch::stack(weights, 1);
  }

  StrategyNeeds needs() const override {
    return {.replays = replays(replays_labels_ ? 2 : 1),
            .roles = true,
            .places = true,
            .least_buffer = least_buffer()};
  }

  at::Tensor role_weights(const StepView& /*view*/) const override { return role_weights_; }

  at::Tensor loss(const StepView& view) override {
    allocate(view);
    const RoleColumns& columns = view.roles[1];
    const at::Tensor place = view.place.narrow(1, columns.first, columns.count).clamp_min(0);
    const at::Tensor stored = stored_.index_select(0, cells(place));
    return alpha_ * mean_square(view, stored.view(view.of(1, view.logits).sizes()));
  }

  void remember(const StepView& view) override {
    allocate(view);
    const RoleColumns& columns = view.roles[0];
    const at::Tensor enters = view.enters.narrow(1, columns.first, columns.count);
    // What does not enter goes to a place behind the buffer, which nobody reads.
    const at::Tensor place = torch::where(enters < 0, places_ - 1, enters);
    const at::Tensor outputs = view.of(0, view.logits).reshape({-1, stored_.size(1)});
    stored_.index_copy_(0, cells(place), outputs);
  }

  NamedTensors save(std::int64_t r) const override {
    NamedTensors all = BufferReplay::save(r);
    if (stored_.defined()) all.emplace_back(logits_name(), of_replica(r).to(torch::kCPU).clone());
    return all;
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    if (name != logits_name()) return BufferReplay::load(r, name, values);
    const std::int64_t own = view_.configs[static_cast<std::size_t>(r)].integer("buffer");
    const bool fits = values.dim() == 2 && values.size(0) == own &&
                      (!stored_.defined() || stored_.size(1) == values.size(1));
    if (!fits) refuse_state(this->name(), name, values, "outputs of each place of the buffer");
    allocate(values.size(1));
    of_replica(r).copy_(values);
  }

 private:
  std::string logits_name() const { return name() + ".logits"; }

  void allocate(const StepView& view) { allocate(view.rows_per_example * view.logits.size(-1)); }
  void allocate(std::int64_t outputs) {
    if (stored_.defined()) return;
    places_ = most_capacity() + 1;
    stored_ = torch::zeros({view_.replicas * places_, outputs}, view_.options);
  }
  // The places that the replica's own buffer has: what it saves must not depend on company.
  at::Tensor of_replica(std::int64_t r) const {
    const std::int64_t own = view_.configs[static_cast<std::size_t>(r)].integer("buffer");
    return stored_.narrow(0, r * places_, own);
  }
  at::Tensor cells(const at::Tensor& place) const {
    const at::Tensor first = torch::arange(view_.replicas, place.options()).unsqueeze(1) * places_;
    return (place + first).reshape({-1});
  }

  bool replays_labels_;
  at::Tensor alpha_, role_weights_;
  at::Tensor stored_;  // [R places, outputs of an example's rows]
  std::int64_t places_ = 0;
};

std::unique_ptr<Strategy> make_der(StrategyView view) {
  return std::make_unique<DarkReplay>(std::move(view), false);
}

std::unique_ptr<Strategy> make_derpp(StrategyView view) {
  return std::make_unique<DarkReplay>(std::move(view), true);
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "der",
     .summary = "dark experience replay: replayed outputs are pulled to stored ones",
     .cite = "2004.07211",
     .defaults = {{"stability", "0.5"}},
     .uses = {"buffer", "buffer_rule", "replay_batch", "stability"},
     .file = __FILE__},
    make_der);

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "derpp",
     .summary = "DER++: dark experience replay, and labels of a second replay",
     .cite = "2004.07211",
     .defaults = {{"stability", "0.5"}, {"replay_weight", "0.5"}},
     .uses = {"buffer", "buffer_rule", "replay_batch", "stability", "replay_weight"},
     .file = __FILE__},
    make_derpp);

}  // namespace
}  // namespace tandem
