// Small nets whose weights are written down, and runs whose policies are, for the probes' tests.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "data/tensor.h"
#include "probes/probe.h"
#include "topology/masked_connections.h"

namespace tandem {

// Flags as a packed mask: bit i of the whole is flag i.
inline ActiveSet active_bits(const std::vector<std::uint8_t>& flags) {
  std::vector<std::uint8_t> bits((flags.size() + 7) / 8, 0);
  for (std::size_t i = 0; i < flags.size(); ++i) {
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | ((flags[i] != 0) << (i % 8)));
  }
  return ActiveSet::of_bits(std::move(bits));
}

// Layers "layer0", "layer1", ... without biases, ReLU between them.
class ChainNet : public Model {
 public:
  // weights[l]: [R,in,out]; masks[l] alike or undefined: all active.
  ChainNet(const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& masks) {
    for (std::size_t l = 0; l < weights.size(); ++l) {
      layers_.push_back(std::make_unique<Linear>("layer" + std::to_string(l), weights[l].size(1),
                                                 weights[l].size(2), false));
      Linear& layer = *layers_.back();
      layer.weight.value = weights[l].clone().requires_grad_(true);
      layer.connections = std::make_unique<MaskedConnections>(
          layer.weight, masks[l].defined() ? masks[l].to(torch::kByte) : at::Tensor());
    }
  }

  at::Tensor forward(const at::Tensor& x, Context& context) override {
    at::Tensor h = x;
    for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
      h = layers_[l]->forward(h, context, [](const at::Tensor& z) { return torch::relu(z); });
      if (context.observe_tensor) context.observe_tensor(layers_[l]->name(), "activation", h);
    }
    return layers_.back()->forward(h, context);
  }

  std::vector<Linear*> linears() override {
    std::vector<Linear*> all;
    for (auto& layer : layers_) all.push_back(layer.get());
    return all;
  }
  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    for (auto& layer : layers_) all.push_back(&layer->weight);
    return all;
  }
  std::int64_t sites(Level level) const override {
    std::int64_t sparsifiable = 0;
    for (const auto& layer : layers_) sparsifiable += layer->connections != nullptr;
    return level == Level::kWeights ? sparsifiable : 0;
  }

  Linear& layer(std::size_t l) { return *layers_[l]; }
  const MaskedConnections& masked(std::size_t l) {
    return static_cast<const MaskedConnections&>(*layers_[l]->connections);
  }

 private:
  std::vector<std::unique_ptr<Linear>> layers_;
};

// A run whose method trains only its sparse stream, dormant weights zero (SET, RigL), at a uniform
// density.
inline ReadoutRun zero_dormant_run(double density) {
  ReadoutRun run;
  run.policies.weights.schedule.kind = Schedule::Kind::kSparse;
  run.policies.weights.dormant.kind = Dormant::Kind::kZero;
  run.policies.weights.start.density = density;
  run.policies.weights.start.budget = Start::Budget::kUniform;
  return run;
}

// The same with dormant weights that hold values, which the full stream trains or nobody does.
inline ReadoutRun carrying_run(double density, bool trains_full = true) {
  ReadoutRun run = zero_dormant_run(density);
  run.policies.weights.dormant.kind = Dormant::Kind::kTrained;
  if (trains_full) run.policies.weights.schedule.kind = Schedule::Kind::kBernoulli;
  return run;
}

inline at::Tensor doubles(const std::vector<double>& values, at::IntArrayRef shape) {
  return torch::tensor(values, torch::kDouble).view(shape);
}

// Targets are class 0 everywhere; the training parts are the examples of x, two in each.
inline ProbeInput input_of(Model& model, const std::vector<ReadoutRun>& runs, const at::Tensor& x) {
  const auto flat = [](const at::Tensor& logits) {
    return logits.reshape({logits.size(0), -1, logits.size(-1)});
  };
  const auto loss = [flat](const at::Tensor& logits) {
    return at::Tensor(-torch::log_softmax(flat(logits), -1).select(-1, 0).mean(1));
  };
  ProbeInput input{model, runs, x, loss, [flat](const at::Tensor& logits) {
                     return at::Tensor(flat(logits).argmax(-1).eq(0).to(torch::kDouble).mean(1));
                   }};
  input.shared_loss = [flat](const at::Tensor& logits, const at::Tensor& share) {
    const at::Tensor losses = -torch::log_softmax(flat(logits), -1).select(-1, 0);
    return at::Tensor((losses * share).sum(1));
  };
  const bool tokens = model.sites(Level::kAttention) > 0;
  input.target =
      torch::zeros({x.size(0), tokens ? x.size(1) * x.size(2) : x.size(1)}, torch::kLong);
  input.training_parts = (x.size(1) + 1) / 2;
  input.training = [x, loss](std::int64_t part) {
    return TrainingPart{x.slice(1, 2 * part, 2 * part + 2), loss};
  };
  return input;
}

inline Measurements measure(Probe& probe, Model& model, const std::vector<ReadoutRun>& runs,
                            const at::Tensor& x) {
  return probe.measure(input_of(model, runs, x));
}

inline Measurements measure(const std::string& name, Model& model,
                            const std::vector<ReadoutRun>& runs, const at::Tensor& x) {
  const auto probe = probes().at("probe", name)(runs);
  probe->begin(model);
  return measure(*probe, model, runs, x);
}

inline void update(Probe& probe, std::int64_t replica, const std::string& layer,
                   const ActiveSet& before, const ActiveSet& after, std::int64_t step = 1) {
  probe.after_update({replica, layer, step, before, after});
}

inline std::vector<double> values_of(const Measurements& rows, std::size_t replica,
                                     const std::string& layer, const std::string& name) {
  std::vector<double> found;
  for (const Measurement& row : rows[replica]) {
    if (row.layer == layer && row.name == name) found.push_back(row.value);
  }
  return found;
}

inline bool has(const Measurements& rows, std::size_t replica, const std::string& layer,
                const std::string& name) {
  return !values_of(rows, replica, layer, name).empty();
}

// NaN where there is not exactly one such row, which no comparison passes.
inline double value(const Measurements& rows, std::size_t replica, const std::string& layer,
                    const std::string& name) {
  const auto found = values_of(rows, replica, layer, name);
  INFO(layer << " " << name << ": " << found.size() << " rows");
  CHECK(found.size() == 1);
  return found.size() == 1 ? found.front() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tandem
