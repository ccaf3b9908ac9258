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
// `task_units` above 0 is the authors' way: each task trains within so large a share of each hidden
// layer's units, drawn among the free ones, and reads no others, those of earlier tasks neither.
// The other free units wait: weights into them and from them are zero and stay in the topology, for
// the tasks that they are drawn for.
//
// Each later task begins with free weights at the values that the run began with there, and biases
// of free units go on, as in the code. In class-IL the softmax is over all outputs, where the
// weights of other tasks' outputs count as zero while a task trains, so that these outputs are
// their biases; those of later tasks are zero until their task begins. Where tasks share outputs,
// weights from a task's units are its own and the biases the first task's.
//
// What differs: the authors keep all connections of a task, also those into units that later tasks
// go on to change, and its outputs read these. They drop and grow by the importance of weights and
// units; here the method of the run moves what is free. Their unit's importance adds the weights'
// sums up again at each step. `retrain_share` is not theirs: above 0 units are reserved that much
// earlier, and the task trains what is its own on.
#include <algorithm>
#include <cmath>

#include "config/seeds.h"
#include "continual/isolation.h"
#include "core/philox.h"
#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

// The random stream of which units a task trains, within the run's stream "topology", whose other
// streams are those of layers.
constexpr std::uint64_t kUnitsOfTasks = std::uint64_t{1} << 32;

class ReservedUnits : public SettledWeights {
 public:
  explicit ReservedUnits(StrategyView view) : SettledWeights(std::move(view)) {
    for (std::size_t l = 0; l + 1 < view_.layers.size(); ++l) {
      const std::int64_t units = view_.layers[l].outputs;
      TORCH_INTERNAL_ASSERT(units == view_.layers[l + 1].inputs, "units between layers of a chain");
      units_.push_back(torch::zeros({view_.replicas, units}, view_.options));
    }
    const auto share = [](const Config& each) { return each.real("task_units"); };
    apart_ = per_replica(view_, share).gt(0).unsqueeze(1);
    any_apart_ = std::any_of(view_.configs.begin(), view_.configs.end(),
                             [&share](const Config& each) { return share(each) > 0; });
  }

  StrategyNeeds needs() const override {
    StrategyNeeds needs = IsolatedWeights::needs();
    needs.weights_rest = needs.gates_units = needs.first_values = true;
    needs.replaces_values = reads_all_outputs();
    return needs;
  }

  void before_task(std::int64_t task, bool resumed) override {
    const at::NoGradGuard no_grad;
    IsolatedWeights::before_task(task, resumed);
    if (!view_.layers.empty() && has_own_outputs(view_.layers.back())) {
      const std::int64_t outputs = view_.layers.back().outputs;
      const auto tasks = static_cast<std::int64_t>(view_.sequences.front().tasks.size());
      classes_ = torch::zeros({view_.replicas, outputs}, view_.options);
      for (std::int64_t t = 1; t <= tasks; ++t) {
        const double state = t < task ? static_cast<double>(t) : t == task ? 0 : -1;
        classes_.masked_fill_(outputs_of(outputs, t), state);
      }
    }
    for (std::size_t l = 0; l < units_.size(); ++l) {
      const at::Tensor earned = importance(l);
      if (resumed) continue;
      earned.zero_();
      for (std::int64_t r = 0; r < view_.replicas; ++r) draw_units(l, r);
    }
    for (std::int64_t r = 0; !resumed && r < view_.replicas; ++r) begin(r);
  }

  at::Tensor outputs(const StepView& /*view*/) override { return {}; }

  // Other tasks' outputs are their biases.
  void enter(const at::Tensor& /*numbers*/) override {
    if (!reads_all_outputs() || !classes_.defined()) return;
    Parameter& weight = weight_of(view_.layers.size() - 1);
    kept_ = weight.flat().clone();
    weight.flat().masked_fill_(places(view_.layers.back()).of_outputs(classes_.ne(0)), 0);
  }

  at::Tensor gradient(StepGradients& gradients) override {
    if (kept_.defined()) weight_of(view_.layers.size() - 1).flat().copy_(kept_);
    kept_.reset();
    const std::vector<at::Tensor> own = gradients.masked();
    leave(gradients);
    for (std::size_t l = 0; l < units_.size(); ++l) {
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

  NamedTensors save(std::int64_t r) const override {
    NamedTensors all = IsolatedWeights::save(r);
    for (std::size_t l = 0; l < units_.size(); ++l) {
      all.emplace_back(units_name(l), units_[l][r].to(torch::kCPU).clone());
    }
    return all;
  }

  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override {
    for (std::size_t l = 0; l < units_.size(); ++l) {
      if (name != units_name(l)) continue;
      if (values.numel() != units_[l].size(1)) break;
      units_[l][r].copy_(values);
      return;
    }
    IsolatedWeights::load(r, name, values);
  }

 protected:
  // What leads into units that are not the task's to train, or from units that it does not read.
  at::Tensor barred(std::size_t parameter) const override {
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      const at::Tensor out = units_of(l);
      if (layer.bias == static_cast<std::int64_t>(parameter)) {
        return out.defined() ? out.ne(0).reshape({-1}) : out;
      }
      if (layer.weight != parameter) continue;
      at::Tensor no;
      if (out.defined()) no = places(layer).of_outputs(out.ne(0));
      if (any_apart_ && l > 0) {
        const at::Tensor& in = units_[l - 1];
        const at::Tensor unread =
            in.ne(0).logical_and(in.ne(static_cast<double>(task()))).logical_and(apart_);
        const at::Tensor from = places(layer).of_inputs(unread);
        no = no.defined() ? no.logical_or(from) : from;
      }
      return no;
    }
    return {};
  }

 private:
  static std::string units_name(std::size_t l) { return "spacenet.units" + std::to_string(l); }

  Parameter& weight_of(std::size_t l) const { return *view_.parameters[view_.layers[l].weight]; }
  bool reads_all_outputs() const {
    return !view_.sequences.empty() && view_.sequences.front().masked_readout;
  }

  // The states [R,out] of what a layer leads into; undefined: outputs that tasks share.
  const at::Tensor& units_of(std::size_t l) const {
    return l < units_.size() ? units_[l] : classes_;
  }

  // The units of a hidden layer that the task trains; the other free ones wait.
  void draw_units(std::size_t l, std::int64_t r) {
    const Config& config = view_.configs[static_cast<std::size_t>(r)];
    at::Tensor units = units_[l][r];
    units.clamp_min_(0);
    if (config.real("task_units") <= 0) return;
    const at::Tensor free = units.eq(0);
    const std::int64_t wanted =
        std::llround(config.real("task_units") * static_cast<double>(units.numel()));
    const std::int64_t count =
        std::min(std::max<std::int64_t>(1, wanted), free.sum().item<std::int64_t>());
    const RandomStream stream{sub_key(
        sub_key(sub_key(run_key(config, "topology"), kUnitsOfTasks), static_cast<std::uint64_t>(l)),
        static_cast<std::uint64_t>(task()))};
    const at::Tensor drawn =
        random_rows(free.to(torch::kByte).unsqueeze(0), {count}, {stream})[0].ne(0);
    units.masked_fill_(free.logical_and(drawn.logical_not()), -1);
  }

  at::Tensor importance(std::size_t l) const {  // beside the weights into a hidden layer
    const char* slot_name = "spacenet.importance";
    const at::Tensor values = weight_of(l).slot(slot_name);
    weight_of(l).slots.at(slot_name).lasting = true;
    return values;
  }

  // Free weights of replica r begin the task, or wait.
  void begin(std::int64_t r) {
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      Parameter& weight = weight_of(l);
      const at::Tensor owner = owners(weight, r), there = active(layer, r);
      const at::Tensor free = owner.eq(0), no = barred(layer.weight);
      at::Tensor begins = free;
      if (no.defined()) {
        const at::Tensor fixed = weight.segment(no, r).logical_and(free);
        begins = free.logical_and(fixed.logical_not());
        begin_anew(weight, r, fixed);
        owner.masked_fill_(fixed.logical_and(waiting(l, r)).logical_and(there), -1);
      }
      if (task() == 1) continue;
      begin_anew(weight, r, begins);
      weight.segment(weight.flat(), r).add_(first_values(layer, r, begins.logical_and(there)));
    }
  }

  // Weights of replica r, bool, that some later task may train: between units that wait or that the
  // task trains.
  at::Tensor waiting(std::size_t l, std::int64_t r) const {
    const LayerPlaces where = places(view_.layers[l]);
    const Parameter& weight = weight_of(l);
    at::Tensor open = torch::ones_like(owners(weight_of(l), r), torch::kBool);
    if (units_of(l).defined()) {
      open = open.logical_and(weight.segment(where.of_outputs(units_of(l).le(0)), r));
    }
    if (any_apart_ && l > 0) {
      const at::Tensor may = units_[l - 1].le(0).logical_or(apart_.logical_not());
      open = open.logical_and(weight.segment(where.of_inputs(may), r));
    }
    return open;
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

  // How many of the layer's units the task reserves, by their states.
  std::int64_t wanted(std::int64_t r, const at::Tensor& units) const {
    const auto of = [](const at::Tensor& which) {
      return static_cast<double>(which.sum().item<std::int64_t>());
    };
    const double said = view_.configs[static_cast<std::size_t>(r)].real("reserved_units");
    const auto left =
        static_cast<double>(view_.sequences.front().tasks.size()) - static_cast<double>(task() - 1);
    const std::int64_t share =
        std::llround(said > 0 ? said * static_cast<double>(units.numel()) : of(units.le(0)) / left);
    return std::min(std::max<std::int64_t>(1, share), units.eq(0).sum().item<std::int64_t>());
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
  void settle(std::int64_t r) override {
    const auto number = static_cast<double>(task());
    for (std::size_t l = 0; l < units_.size(); ++l) {
      at::Tensor units = units_[l][r];
      const at::Tensor free = units.eq(0);
      const at::Tensor chosen = select_rows(importance_of_units(l, r).unsqueeze(0),
                                            free.to(torch::kByte).unsqueeze(0), {wanted(r, units)},
                                            /*largest=*/true)[0]
                                    .ne(0);
      units.masked_fill_(chosen, number);
    }
    std::vector<char> of_layers(view_.parameters.size(), 0);
    for (std::size_t l = 0; l < view_.layers.size(); ++l) {
      const StrategyLayer& layer = view_.layers[l];
      const bool shared = l == units_.size() && !has_own_outputs(layer);
      const at::Tensor units = shared              ? torch::ones({layer.outputs}, torch::kBool)
                               : l < units_.size() ? units_[l][r].eq(number)
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
      const at::Tensor &in = units_[l - 1], now = in.eq(static_cast<double>(task()));
      own =
          own.logical_and(weight.segment(where.of_inputs(torch::where(apart_, now, in.gt(0))), r));
    }
    begin_anew(weight, r, into.logical_and(own.logical_not()));
    owner.masked_fill_(own, static_cast<double>(task()));
  }

  // States: a task's number, which reserved it or has ended; 0: the present task trains it; -1: it
  // waits for a later one.
  std::vector<at::Tensor> units_;  // [R,units] of each hidden layer
  at::Tensor classes_;             // [R,C] of the outputs; undefined: tasks share them
  at::Tensor apart_;               // bool [R,1]: tasks read no units of others
  bool any_apart_ = false;
  at::Tensor kept_;                         // within a step
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
     .uses = {"reserved_units", "task_units", "retrain_share"},
     .file = __FILE__},
    make_spacenet);

}  // namespace
}  // namespace tandem
