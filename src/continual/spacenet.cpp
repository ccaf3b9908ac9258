// SpaceNet (Sokar, Mocanu and Pechenizkiy 2021, arXiv 2007.07617; its authors' code at 4635bb4):
// tasks share a net, read as it is without knowing the task, and each reserves hidden units for
// itself. Along a task's path a weight earns the sum of |g dw|, g the gradient of the task loss and
// dw what the step moved it by; a hidden unit is as important as what its active weights from the
// layer below have earned together. At the task's end each hidden layer reserves those of its free
// units that are most important. What leads into a reserved unit never changes again: weights from
// units that are reserved too, by this task or an earlier one, stay in the topology; those from
// other units become zero and stay so. The task's outputs are units of this kind. So what a
// finished task's outputs compute stays the same to the bit. Later tasks may read reserved units.
//
// Each later task begins with free weights at the values that the run began with there, and biases
// of free units go on, as in the code. In class-IL the softmax is over all outputs, where the
// weights of other tasks' outputs count as zero while a task trains, so that these outputs are
// their biases; those of later tasks are zero until their task begins. Where tasks share outputs,
// weights from a task's units are its own and the biases the first task's.
//
// What differs: the authors train a task within a random choice of free units, so that it reads no
// units of earlier tasks, and keep all of its connections, also those into units that later tasks
// go on to change, and its outputs read these. They drop and grow by the importance of weights and
// units; here the method of the run moves what is free. Their unit's importance adds the weights'
// sums up again at each step. `retrain_share` is not theirs: above 0 units are reserved that much
// earlier, and the task trains what is its own on.
#include <algorithm>
#include <cmath>

#include "continual/isolation.h"
#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

class ReservedUnits : public IsolatedWeights {
 public:
  explicit ReservedUnits(StrategyView view) : IsolatedWeights(std::move(view)) {
    for (std::size_t l = 0; l + 1 < view_.layers.size(); ++l) {
      const std::int64_t units = view_.layers[l].outputs;
      TORCH_INTERNAL_ASSERT(units == view_.layers[l + 1].inputs, "units between layers of a chain");
      reserved_.push_back(torch::zeros({view_.replicas, units}, view_.options));
    }
  }

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.weights_rest = needs.gates_units = true;
    needs.replaces_values = reads_all_outputs();
    return needs;
  }

  void before_task(std::int64_t task, bool resumed) override {
    const at::NoGradGuard no_grad;
    IsolatedWeights::before_task(task, resumed);
    if (!view_.layers.empty() && has_own_outputs(view_.layers.back())) {
      const std::int64_t outputs = view_.layers.back().outputs;
      others_ = outputs_of(outputs, task).logical_not().expand({view_.replicas, outputs});
    }
    for (std::size_t l = 0; l < reserved_.size(); ++l) {
      const at::Tensor earned = importance(l);
      if (!resumed) earned.zero_();
    }
    for (std::int64_t r = 0; !resumed && r < view_.replicas; ++r) begin(r);
  }

  at::Tensor outputs(const StepView& /*view*/) override { return {}; }

  // Other tasks' outputs are their biases.
  void enter(const at::Tensor& /*numbers*/) override {
    if (!reads_all_outputs() || !others_.defined()) return;
    Parameter& weight = weight_of(view_.layers.size() - 1);
    kept_ = weight.flat().clone();
    weight.flat().masked_fill_(places(view_.layers.back()).of_outputs(others_), 0);
  }

  at::Tensor gradient(StepGradients& gradients) override {
    if (kept_.defined()) weight_of(view_.layers.size() - 1).flat().copy_(kept_);
    kept_.reset();
    std::vector<at::Tensor> own = gradients.masked();
    leave(own);
    gradients.replace(own);
    for (std::size_t l = 0; l < reserved_.size(); ++l) {
      taken_.push_back(own[view_.layers[l].weight]);
      before_.push_back(weight_of(l).flat().clone());
    }
    return {};
  }

  void after_update() override {
    IsolatedWeights::after_update();
    for (std::size_t l = 0; l < taken_.size(); ++l) {
      if (!taken_[l].defined()) continue;
      importance(l).add_((taken_[l] * (weight_of(l).flat() - before_[l])).abs());
    }
    taken_.clear();
    before_.clear();
  }

  // What grows into a unit that does not change would change it.
  void topology_moved(const std::vector<char>& which) override {
    const at::NoGradGuard no_grad;
    for (const StrategyLayer& layer : view_.layers) {
      Parameter& weight = *view_.parameters[layer.weight];
      const at::Tensor fixed = barred(layer.weight);
      if (!fixed.defined()) continue;
      const at::Tensor grown = fixed.logical_and(owners(weight).eq(0));
      for (std::size_t r = 0; r < which.size(); ++r) {
        const auto replica = static_cast<std::int64_t>(r);
        if (which[r]) begin_anew(weight, replica, weight.segment(grown, replica));
      }
    }
  }

  std::int64_t turn_at(std::int64_t r, std::int64_t steps) const override {
    const double share = view_.configs[static_cast<std::size_t>(r)].real("retrain_share");
    const auto again = static_cast<std::int64_t>(std::floor(share * static_cast<double>(steps)));
    return steps - again;
  }

  void turn(const std::vector<char>& due) override {
    const at::NoGradGuard no_grad;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      if (due[static_cast<std::size_t>(r)]) reserve(r);
    }
  }

  void after_task(std::int64_t /*task*/,
                  const std::vector<std::vector<std::int64_t>>& /*examples*/) override {
    const at::NoGradGuard no_grad;
    for (std::int64_t r = 0; r < view_.replicas; ++r) {
      if (trained(r) != task()) reserve(r);
    }
  }

  NamedTensors save(std::int64_t r) const override {
    NamedTensors all = IsolatedWeights::save(r);
    for (std::size_t l = 0; l < reserved_.size(); ++l) {
      all.emplace_back(reserved_name(l), reserved_[l][r].to(torch::kCPU).clone());
    }
    return all;
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    for (std::size_t l = 0; l < reserved_.size(); ++l) {
      if (name != reserved_name(l)) continue;
      if (values.numel() != reserved_[l].size(1)) break;
      reserved_[l][r].copy_(values);
      return;
    }
    IsolatedWeights::load(r, name, values);
  }

 protected:
  // Weights into reserved units, and of other tasks' outputs. Biases of units have owners.
  at::Tensor barred(std::size_t parameter) const override {
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      const bool last = l == reserved_.size();
      if (layer.weight == parameter) {
        if (!last) return places(layer).of_outputs(reserved_[l].ne(0));
        return others_.defined() ? places(layer).of_outputs(others_) : at::Tensor();
      }
      if (layer.bias == static_cast<std::int64_t>(parameter)) {
        return last && others_.defined() ? others_.reshape({-1}) : at::Tensor();
      }
    }
    return {};
  }

 private:
  static std::string reserved_name(std::size_t l) {
    return "spacenet.reserved" + std::to_string(l);
  }

  Parameter& weight_of(std::size_t l) const { return *view_.parameters[view_.layers[l].weight]; }
  bool reads_all_outputs() const {
    return !view_.sequences.empty() && view_.sequences.front().masked_readout;
  }

  at::Tensor importance(std::size_t l) const {  // beside the weights into a hidden layer
    const char* slot_name = "spacenet.importance";
    const at::Tensor values = weight_of(l).slot(slot_name);
    weight_of(l).slots.at(slot_name).lasting = true;
    return values;
  }

  // Free weights of replica r begin the task.
  void begin(std::int64_t r) {
    for (const StrategyLayer& layer : view_.layers) {
      Parameter& weight = *view_.parameters[layer.weight];
      const at::Tensor owner = owners(weight, r), there = active(layer, r);
      if (task() > 1) {
        at::Tensor free = owner.eq(0);
        const at::Tensor fixed = barred(layer.weight);
        if (fixed.defined()) {
          free = free.logical_and(weight.segment(fixed, r).logical_not());
        }
        begin_anew(weight, r, free);
        const at::Tensor first = first_values(layer, r, free.logical_and(there));
        weight.segment(weight.flat(), r).add_(first);
      }
      if (!has_own_outputs(layer)) continue;
      at::Tensor later = torch::ones_like(others_[r]);
      for (std::int64_t t = 1; t <= task(); ++t) {
        later = later.logical_and(outputs_of(layer.outputs, t).logical_not());
      }
      later = weight.segment(
          places(layer).of_outputs(later.expand({view_.replicas, layer.outputs})), r);
      begin_anew(weight, r, later);
      owner.masked_fill_(later.logical_and(there), -1);
    }
  }

  // The values that the run began with, at these weights of replica r, bool; 0 at the others.
  at::Tensor first_values(const StrategyLayer& layer, std::int64_t r,
                          const at::Tensor& which) const {
    const Parameter& weight = *view_.parameters[layer.weight];
    const at::Tensor wanted = which.to(torch::kCPU).contiguous();
    const at::Tensor there = active(layer, r).to(torch::kCPU).contiguous();
    const at::Tensor stored =
        weight.connections == nullptr ? at::Tensor() : weight.connections->stored_positions();
    const at::Tensor positions = stored.defined() ? weight.segment(stored, r).contiguous()
                                                  : torch::arange(wanted.numel(), torch::kInt64);
    const auto* position = positions.const_data_ptr<std::int64_t>();
    const at::Tensor values = torch::zeros({wanted.numel()}, torch::kFloat64);
    std::vector<double> reads(static_cast<std::size_t>(layer.outputs), 0);
    double all = 0;
    for (std::int64_t i = 0; i < wanted.numel(); ++i) {
      if (!there.const_data_ptr<bool>()[i]) continue;
      reads[static_cast<std::size_t>(position[i] % layer.outputs)] += 1;
      all += 1;
    }
    const std::string& scale = view_.configs[static_cast<std::size_t>(r)].text("init_scale");
    const auto inputs = static_cast<double>(layer.inputs);
    for (std::int64_t i = 0; i < wanted.numel(); ++i) {
      if (!wanted.const_data_ptr<bool>()[i]) continue;
      double share = 1;  // of the unit's inputs, or of all positions
      if (scale == "fan_in") {
        share = reads[static_cast<std::size_t>(position[i] % layer.outputs)] / inputs;
      } else if (scale == "density") {
        share = all / (inputs * static_cast<double>(layer.outputs));
      }
      values.data_ptr<double>()[i] = layer.initial->at(r, position[i]) / std::sqrt(share);
    }
    return values.to(weight.flat().options());
  }

  // How many of the layer's free units the task reserves.
  std::int64_t wanted(std::int64_t r, std::int64_t units, std::int64_t free) const {
    const double said = view_.configs[static_cast<std::size_t>(r)].real("reserved_units");
    const auto left =
        static_cast<double>(view_.sequences.front().tasks.size()) - static_cast<double>(task() - 1);
    const std::int64_t share = std::llround(said > 0 ? said * static_cast<double>(units)
                                                     : static_cast<double>(free) / left);
    return std::min(std::max<std::int64_t>(1, share), free);
  }

  // Of each unit of a hidden layer; the sums of one replica know nothing of the others.
  at::Tensor importance_of_units(std::size_t l, std::int64_t r) const {
    const StrategyLayer& layer = view_.layers[l];
    const Connections* connections = weight_of(l).connections;
    const at::Tensor flags = connections == nullptr ? at::Tensor() : connections->active_flags();
    const at::Tensor earned = importance(l);
    return places(layer)
        .to_positions(flags.defined() ? earned.masked_fill(flags.eq(0), 0) : earned)[r]
        .view({layer.inputs, layer.outputs})
        .sum(0);
  }

  // The task takes its units, and what leads into them.
  void reserve(std::int64_t r) {
    const auto number = static_cast<double>(task());
    for (std::size_t l = 0; l < reserved_.size(); ++l) {
      at::Tensor units = reserved_[l][r];
      const at::Tensor free = units.eq(0);
      const at::Tensor chosen =
          select_rows(importance_of_units(l, r).unsqueeze(0), free.to(torch::kByte).unsqueeze(0),
                      {wanted(r, units.numel(), free.sum().item<std::int64_t>())},
                      /*largest=*/true)[0]
              .ne(0);
      units.masked_fill_(chosen, number);
    }
    std::vector<char> of_layers(view_.parameters.size(), 0);
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      const bool shared = l == reserved_.size() && !has_own_outputs(layer);
      const at::Tensor units = shared                 ? torch::ones({layer.outputs}, torch::kBool)
                               : l < reserved_.size() ? reserved_[l][r].eq(number)
                                                      : outputs_of(layer.outputs, task());
      take(l, r, units.to(view_.options.device()));
      of_layers[layer.weight] = 1;
      if (layer.bias < 0) continue;
      of_layers[static_cast<std::size_t>(layer.bias)] = 1;
      const at::Tensor owner = owners(*view_.parameters[static_cast<std::size_t>(layer.bias)], r);
      owner.masked_fill_(shared ? owner.eq(0) : units, number);
    }
    for (std::size_t p = 0; p < of_layers.size(); ++p) {
      if (of_layers[p]) continue;
      const at::Tensor owner = owners(*view_.parameters[p], r);
      owner.masked_fill_(owner.eq(0), number);
    }
    rest(r);
    train(r, task());
  }

  // Of the free weights into these units, bool [out], those from reserved units become the task's
  // and the others zero.
  void take(std::size_t l, std::int64_t r, const at::Tensor& units) {
    const StrategyLayer& layer = view_.layers[l];
    Parameter& weight = weight_of(l);
    const LayerPlaces where = places(layer);
    const at::Tensor owner = owners(weight, r);
    const at::Tensor into =
        weight.segment(where.of_outputs(units.expand({view_.replicas, layer.outputs})), r)
            .logical_and(owner.eq(0));
    at::Tensor own = into.logical_and(active(layer, r));
    if (l > 0) {
      own = own.logical_and(weight.segment(where.of_inputs(reserved_[l - 1].ne(0)), r));
    }
    begin_anew(weight, r, into.logical_and(own.logical_not()));
    owner.masked_fill_(own, static_cast<double>(task()));
  }

  std::vector<at::Tensor> reserved_;  // [R,units] of each hidden layer: by which task; 0: free
  at::Tensor others_;  // bool [R,C]: outputs of other tasks than this one; undefined: none
  at::Tensor kept_;    // within a step
  std::vector<at::Tensor> taken_, before_;  // likewise, by hidden layer
};

std::unique_ptr<Strategy> make_spacenet(StrategyView view) {
  return std::make_unique<ReservedUnits>(std::move(view));
}

TANDEM_REGISTERED = strategies().add(
    {.kind = "strategy",
     .name = "spacenet",
     .summary = "SpaceNet: each task reserves its most important hidden units, which later tasks "
                "read and never change",
     .cite = "2007.07617",
     .defaults = {{"retrain_share", "0"}},
     .uses = {"reserved_units", "retrain_share"},
     .file = __FILE__},
    make_spacenet);

}  // namespace
}  // namespace tandem
