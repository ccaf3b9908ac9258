// Winning subnetworks (Kang et al., ICML 2022; its authors' code at f066982): each weight w has a
// score s, and a task computes with the share `task_density` of each layer's weights that has the
// largest |s|. Both are trained, straight through the choice: with G the gradient of the weights
// that the step computes with, w m,
//   dL/dw = m G,   dL/ds = sign(s) w G.
// A task's choice is kept; what it holds does not change any more and later tasks may choose it. A
// task is read through its choice.
//
// Among what a sparse topology leaves active the choice is made. Where each task has outputs of its
// own these are its alone and not chosen from, and its softmax is over them in class-IL too.
// Biases, norms and embeddings are the first task's.
#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "continual/isolation.h"
#include "data/tensor.h"
#include "nn/model.h"
#include "topology/connections.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

// Of each row of [q,n] the least of its `count` largest numbers, [q,1]. The CPU's selection reads
// the numbers little more than once; the GPU's waits for the host.
at::Tensor least_of_largest(const at::Tensor& rows, std::int64_t count) {
  if (rows.is_cuda()) return std::get<0>(rows.kthvalue(rows.size(1) - count + 1, 1, true));
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(rows.size(0)), count);
  const at::Tensor others = select_rows(rows, {}, counts, /*largest=*/true).eq(0);
  return rows.masked_fill(others, std::numeric_limits<double>::infinity()).amin(1, true);
}

class Winning : public IsolatedWeights {
 public:
  explicit Winning(StrategyView view) : IsolatedWeights(std::move(view)) {
    for (const StrategyLayer& layer : view_.layers) {
      if (has_own_outputs(layer)) continue;
      // U(-b, b) with b = 1 / sqrt(inputs): normal draws through their own distribution function.
      Parameter own = normal_parameter("wsn.score." + view_.parameters[layer.weight]->name,
                                       view_.configs, {layer.inputs * layer.outputs}, 1,
                                       c10::typeMetaToScalarType(view_.options.dtype()));
      // Row by row, so that how a tail of a vector rounds depends on no company.
      std::vector<at::Tensor> rows;
      for (const at::Tensor& row : own.value.detach().unbind(0)) {
        rows.push_back(
            row.div(std::sqrt(2.0)).erf().div(std::sqrt(static_cast<double>(layer.inputs))));
      }
      own.value = torch::stack(rows);
      own.decays = false;
      own.value = own.value.detach().to(view_.options.device()).requires_grad_(true);
      scores_.push_back(std::move(own));
      layers_.push_back(&layer);
    }
    for (const Config& each : view_.configs) share_.push_back(each.real("task_density"));
  }

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.read = StrategyNeeds::Read::kTask;
    needs.replaces_values = needs.within_mask = true;
    return needs;
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    for (Parameter& each : scores_) all.push_back(&each);
    return all;
  }

  void before_task(std::int64_t task, bool resumed) override {
    IsolatedWeights::before_task(task, resumed);
    // Made at once, so that a checkpoint's are known for what they are.
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (std::int64_t t = 1; t < task; ++t) choice_of(l, t);
    }
  }

  void enter(const at::Tensor& /*numbers*/) override {
    kept_.clear();
    chosen_.clear();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Parameter& weight = weight_of(l);
      chosen_.push_back(choice(l));
      kept_.push_back(weight.flat().clone());
      weight.flat().mul_(chosen_.back());
    }
  }

  at::Tensor gradient(StepGradients& gradients) override {
    std::vector<at::Tensor> own = gradients.masked();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Parameter& weight = weight_of(l);
      weight.flat().copy_(kept_[l]);
      at::Tensor& of_weights = own[layers_[l]->weight];
      const at::Tensor score = scores_[l].value.detach();
      scores_[l].value.mutable_grad() =
          (places(*layers_[l]).to_positions(of_weights * kept_[l]) * score.sign())
              .view(score.sizes());
      of_weights = of_weights * chosen_[l];
    }
    kept_.clear();
    chosen_.clear();
    leave(gradients);
    gradients.replace(own);
    return {};
  }

  void after_task(std::int64_t task,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    const at::NoGradGuard no_grad;
    const auto number = static_cast<double>(task);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const at::Tensor chosen = choice(l), owner = owners(weight_of(l));
      choice_of(l, task).copy_(chosen);
      owner.masked_fill_(chosen.ne(0).logical_and(owner.eq(0)), number);
    }
    for (std::int64_t r = 0; r < view_.replicas; ++r) own_the_rest(r);
  }

  at::Tensor read_values(std::size_t parameter, std::int64_t task) const override {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (layers_[l]->weight != parameter) continue;
      const at::Tensor chosen = task < this->task() ? choice_of(l, task) : choice(l);
      return weight_of(l).flat() * chosen;
    }
    return {};
  }

 private:
  Parameter& weight_of(std::size_t l) const { return *view_.parameters[layers_[l]->weight]; }

  // The choice that a task was left with, 0 or 1 beside the weights.
  at::Tensor choice_of(std::size_t l, std::int64_t task) const {
    const std::string slot_name = "wsn.task" + std::to_string(task);
    const at::Tensor values = weight_of(l).slot(slot_name);
    weight_of(l).slots.at(slot_name).lasting = true;
    return values;
  }

  // The choice of the scores as they are, likewise: of each replica the share of its active
  // weights, and what ties with the last of them.
  at::Tensor choice(std::size_t l) const {
    const Parameter& weight = weight_of(l);
    const at::Tensor sizes = scores_[l].value.detach().abs();
    const at::Tensor flags =
        weight.connections == nullptr ? at::Tensor() : weight.connections->active_flags();
    const LayerPlaces where = places(*layers_[l]);
    const at::Tensor own = where.of_positions(sizes);
    const at::Tensor among = flags.defined() ? own.masked_fill(flags.eq(0), -1) : own;
    std::vector<std::int64_t> counts;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      const std::int64_t active = weight.connections == nullptr ? weight.segment(own, r).numel()
                                                                : weight.connections->active(r);
      counts.push_back(std::max<std::int64_t>(
          1, std::llround(share_[static_cast<std::size_t>(r)] * static_cast<double>(active))));
    }
    const auto chosen = [](const at::Tensor& rows, std::int64_t count) {  // of [q,n]
      const at::Tensor last = least_of_largest(rows, count);
      return rows.ge(last).logical_and(rows.ge(0)).to(rows.scalar_type()).reshape({-1});
    };
    const std::vector<std::int64_t> ends = weight.segments();
    const bool alike = ends.back() == ends[1] * view_.replicas &&
                       std::equal(counts.begin() + 1, counts.end(), counts.begin());
    if (alike) return chosen(among.view({view_.replicas, -1}), counts.front());
    std::vector<at::Tensor> all;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      all.push_back(
          chosen(weight.segment(among, r).unsqueeze(0), counts[static_cast<std::size_t>(r)]));
    }
    return torch::cat(all);
  }

  std::deque<Parameter> scores_;              // of layers_
  std::vector<const StrategyLayer*> layers_;  // those that are chosen from
  std::vector<double> share_;                 // [R]
  std::vector<at::Tensor> kept_, chosen_;     // within a step, by layer
};

std::unique_ptr<Strategy> make_wsn(StrategyView view) {
  return std::make_unique<Winning>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "wsn",
     .summary = "winning subnetworks: each task chooses weights by trained scores, "
                "and keeps its choice",
     .cite = "Kang et al., ICML 2022",
     .uses = {"task_density"},
     .file = __FILE__},
    make_wsn);

}  // namespace
}  // namespace tandem
