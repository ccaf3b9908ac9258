// Hard attention to the task (Serra et al. 2018, arXiv 1801.01423; its authors' code at 6fd0b9d):
// each task t has an embedding e of every hidden unit, and units are multiplied with gates
//   a = sigmoid(s e_t),   s from 1/s_max to s_max within each epoch,
// which become hard. With p the largest gate of a unit over earlier tasks (at s_max), the loss gets
//   lambda sum_i a_i (1 - p_i) / sum_i (1 - p_i)    over all hidden units,
// and a weight between two units changes 1 - min(p_in, p_out) times as much as it would: what
// earlier tasks stand on stays. Embeddings' gradients are multiplied with
//   s_max (cosh(min(|s e|, 50)) + 1) / (s (cosh(e) + 1)),
// against the annealing, and embeddings stay within 6. A task is read through its own gates at
// s_max.
//
// `stability` is lambda, `gate_scale` s_max. What changes less is the optimizer's whole step, where
// the authors, with plain gradient descent, have its gradient. Where each task has outputs of its
// own they are its alone, and its softmax is over them in class-IL too; outputs that tasks share,
// norms and biases of these are held as if earlier tasks stood on them wholly. Weights that are
// held by half or more stay in the topology.
#include <cmath>
#include <deque>

#include "continual/isolation.h"
#include "core/error.h"
#include "data/tensor.h"
#include "nn/elementwise.h"
#include "nn/model.h"
#include "topology/connections.h"

namespace tandem {
namespace {

constexpr double kMostCosh = 50, kMostEmbedding = 6;

class HardAttention : public IsolatedWeights {
 public:
  explicit HardAttention(StrategyView view) : IsolatedWeights(std::move(view)) {
    const auto tasks = static_cast<std::int64_t>(
        view_.sequences.empty() ? 0 : view_.sequences.front().tasks.size());
    for (std::size_t l = 0; l + 1 < view_.layers.size(); ++l) {
      const std::int64_t units = view_.layers[l].outputs;
      TORCH_INTERNAL_ASSERT(units == view_.layers[l + 1].inputs, "gates between layers of a chain");
      Parameter own = normal_parameter(
          "hat.embedding." + view_.parameters[view_.layers[l].weight]->name, view_.configs,
          {tasks, units}, 1, c10::typeMetaToScalarType(view_.options.dtype()));
      own.decays = false;
      own.value = own.value.detach().to(view_.options.device()).requires_grad_(true);
      embeddings_.push_back(std::move(own));
      earlier_.push_back(torch::zeros({view_.replicas, units}, view_.options));
    }
    lambda_ = per_replica(view_, [](const Config& each) { return each.real("stability"); });
    most_ = per_replica(view_, [](const Config& each) { return each.real("gate_scale"); });
  }

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.read = StrategyNeeds::Read::kTask;
    needs.replaces_values = needs.gates_units = true;
    needs.numbers = 1;
    return needs;
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    for (Parameter& each : embeddings_) all.push_back(&each);
    return all;
  }

  // s, linearly within an epoch.
  void numbers(std::int64_t r, const StepPlace& place, double* own) override {
    const double most = view_.configs[static_cast<std::size_t>(r)].real("gate_scale");
    const std::int64_t last = place.epoch_steps - 1;
    const double share = last == 0 ? 1
                                   : static_cast<double>(place.in_task % place.epoch_steps) /
                                         static_cast<double>(last);
    own[0] = (most - 1 / most) * share + 1 / most;
  }

  void enter(const at::Tensor& numbers) override {
    scale_ = numbers.select(1, 0).to(most_.options()).unsqueeze(1);  // [R,1]
    kept_.clear();
    gates_.clear();
    for (std::size_t l = 0; l < embeddings_.size(); ++l) {
      gates_.push_back(sigmoid_reproducible(scale_ * embedding(l, task())));
      Parameter& weight = weight_after(l);
      kept_.push_back(weight.flat().clone());
      weight.flat().mul_(places(view_.layers[l + 1]).of_inputs(gates_[l]));
    }
  }

  at::Tensor gradient(StepGradients& gradients) override {
    std::vector<at::Tensor> own = gradients.masked();
    at::Tensor used, free;  // [R,1]
    for (std::size_t l = 0; l < gates_.size(); ++l) {
      const at::Tensor left = 1 - earlier_[l];
      const at::Tensor sum = (gates_[l] * left).sum(1, true), all = left.sum(1, true);
      used = used.defined() ? used + sum : sum;
      free = free.defined() ? free + all : all;
    }
    if (!used.defined()) return IsolatedWeights::gradient(gradients);
    const at::Tensor lambda = lambda_.unsqueeze(1), room = free.clamp_min(1e-12);
    embeddings_before_.clear();
    for (std::size_t l = 0; l < gates_.size(); ++l) {
      Parameter& weight = weight_after(l);
      weight.flat().copy_(kept_[l]);
      at::Tensor& of_weights = own[view_.layers[l + 1].weight];
      const LayerPlaces where = places(view_.layers[l + 1]);
      const at::Tensor of_gates =
          where.sum_to_inputs(of_weights * kept_[l]) + lambda * (1 - earlier_[l]) / room;
      of_weights = of_weights * where.of_inputs(gates_[l]);
      const at::Tensor e = embedding(l, task());
      // The slope s a (1 - a) is s / (2 (cosh(s e) + 1)), and cancels with the compensation's
      // numerator and s: as a product of the two nothing would be left of it where a gate is hard.
      const at::Tensor beyond =
          exp_reproducible(((scale_ * e).abs() - kMostCosh).clamp_min(0).neg());
      const at::Tensor cosh = (exp_reproducible(e) + exp_reproducible(-e)) * 0.5;
      const at::Tensor of_embedding = of_gates * most_.unsqueeze(1) * 0.5 * beyond / (cosh + 1);
      at::Tensor& all = embeddings_[l].value.mutable_grad();
      all = torch::zeros_like(embeddings_[l].value.detach());
      all.select(1, task() - 1).copy_(of_embedding);
      embeddings_before_.push_back(embeddings_[l].value.detach().clone());
    }
    leave(gradients);
    gradients.replace(own);
    kept_.clear();
    gates_.clear();
    return (lambda * used / room).squeeze(1).to(torch::kFloat64);
  }

  void after_update() override {
    IsolatedWeights::after_update();
    const at::NoGradGuard no_grad;
    for (std::size_t l = 0; l < embeddings_before_.size(); ++l) {
      const at::Tensor now = embedding(l, task()).clamp(-kMostEmbedding, kMostEmbedding).clone();
      embeddings_[l].value.detach().copy_(embeddings_before_[l]);
      embedding(l, task()).copy_(now);
    }
    embeddings_before_.clear();
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    const at::NoGradGuard no_grad;
    for (std::size_t l = 0; l < embeddings_.size(); ++l) {
      earlier_[l].copy_(torch::maximum(earlier_[l], last_gates(l, task)));
    }
    for (const StrategyLayer& layer : view_.layers) {
      const at::Tensor owner = owners(*view_.parameters[layer.weight]);
      const at::Tensor share = share_of(layer);
      if (!share.defined()) continue;  // owned by its outputs' tasks
      const at::Tensor held = share.le(0.5), there = active(layer);
      owner.masked_fill_(held.logical_and(owner.eq(0)).logical_and(there),
                         static_cast<double>(task));
      // A dormant weight between units that are held would change their net once it is active.
      const at::Tensor dormant = held.logical_and(there.logical_not());
      Parameter& weight = *view_.parameters[layer.weight];
      for (std::int64_t r = 0; r < view_.replicas; ++r) {
        begin_anew(weight, r, weight.segment(dormant, r));
      }
    }
    for (std::int64_t r = 0; r < view_.replicas; ++r) own_the_rest(r);
  }

  at::Tensor read_values(std::size_t parameter, std::int64_t task) const override {
    for (std::size_t l = 0; l < embeddings_.size(); ++l) {
      if (view_.layers[l + 1].weight != parameter) continue;
      return weight_after(l).flat() * places(view_.layers[l + 1]).of_inputs(last_gates(l, task));
    }
    return {};
  }

  NamedTensors save(std::int64_t r) const override {
    NamedTensors all = IsolatedWeights::save(r);
    for (std::size_t l = 0; l < earlier_.size(); ++l) {
      all.emplace_back(earlier_name(l), earlier_[l][r].to(torch::kCPU).clone());
    }
    return all;
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    for (std::size_t l = 0; l < earlier_.size(); ++l) {
      if (name != earlier_name(l)) continue;
      if (values.numel() != earlier_[l].size(1)) break;
      earlier_[l][r].copy_(values);
      return;
    }
    IsolatedWeights::load(r, name, values);
  }

 protected:
  // 1 - min(p_in, p_out) of weights, 1 - p_out of biases, beside the values; undefined: whole, as
  // their owners have it.
  at::Tensor share_of(std::size_t parameter) const override {
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      if (layer.weight == parameter) return share_of(layer);
      if (layer.bias == static_cast<std::int64_t>(parameter) && l < earlier_.size()) {
        return (1 - earlier_[l]).reshape({-1});
      }
    }
    return {};
  }

 private:
  static std::string earlier_name(std::size_t l) { return "hat.earlier" + std::to_string(l); }

  Parameter& weight_after(std::size_t l) const {
    return *view_.parameters[view_.layers[l + 1].weight];
  }
  at::Tensor embedding(std::size_t l, std::int64_t task) const {  // [R,units], sharing memory
    return embeddings_[l].value.detach().select(1, task - 1);
  }
  at::Tensor last_gates(std::size_t l, std::int64_t task) const {
    return sigmoid_reproducible(most_.unsqueeze(1) * embedding(l, task));
  }
  at::Tensor active(const StrategyLayer& layer) const {  // bool beside the weights
    std::vector<at::Tensor> all;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      all.push_back(IsolatedWeights::active(layer, r));
    }
    return torch::cat(all);
  }

  at::Tensor share_of(const StrategyLayer& layer) const {
    if (has_own_outputs(layer)) return {};
    const auto l = static_cast<std::size_t>(&layer - view_.layers.data());
    const LayerPlaces where = places(layer);
    at::Tensor held;
    if (l > 0) held = where.of_inputs(earlier_[l - 1]);
    if (l < earlier_.size()) {
      const at::Tensor out = where.of_outputs(earlier_[l]);
      held = held.defined() ? torch::minimum(held, out) : out;
    }
    return held.defined() ? 1 - held : held;
  }

  std::deque<Parameter> embeddings_;  // [R,tasks,units] of each hidden layer
  std::vector<at::Tensor> earlier_;   // [R,units], the largest gates of earlier tasks
  at::Tensor lambda_, most_;          // [R]
  at::Tensor scale_;                  // [R,1] within a step
  std::vector<at::Tensor> kept_, gates_, embeddings_before_;  // likewise, by hidden layer
};

std::unique_ptr<Strategy> make_hat(StrategyView view) {
  return std::make_unique<HardAttention>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "hat",
     .summary = "hard attention to the task: gates on hidden units, which hold what "
                "earlier tasks stand on",
     .cite = "1801.01423",
     .defaults = {{"stability", "0.75"}},
     .uses = {"stability", "gate_scale"},
     .file = __FILE__},
    make_hat);

}  // namespace
}  // namespace tandem
