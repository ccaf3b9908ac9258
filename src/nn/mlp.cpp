// The model is a multi-layer perceptron of any widths over the replica axis,
//   h_l = phi(norm(h_{l-1} W_l + b_l)), logits = h_L W + b,
// where phi is ReLU, GELU or one that lets few units through (k_winners, k_subtract) and norm an
// optional LayerNorm. phi(norm(.)) is the block's Epilogue: the streams of a layer are compared
// before it, after the norm or after all of it.
//
// Under k_subtract with switch_after = s a unit begins excited by what inhibits the others later:
// g = clip(-1 + 2 c / s, -1, 1), c how often it has been active in training, a buffer [R,U] of each
// hidden layer (the GABA switch of Bricken et al. 2023, arXiv 2303.11934). The output that goes on
// to the next layer counts.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/tensor.h"
#include "nn/elementwise.h"
#include "nn/model.h"
#include "nn/outline.h"

namespace tandem {
namespace {

double weight_count(const std::vector<std::int64_t>& widths) {
  double count = 0;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    count += static_cast<double>(widths[l]) * static_cast<double>(widths[l + 1]);
  }
  return count;
}

std::vector<std::int64_t> hidden_scaled(std::vector<std::int64_t> widths, double factor) {
  for (std::size_t l = 1; l + 1 < widths.size(); ++l) {
    const double scaled = std::floor(factor * static_cast<double>(widths[l]));
    widths[l] = std::max<std::int64_t>(2, static_cast<std::int64_t>(scaled));
  }
  return widths;
}

// Returns the sizes of inputs, hidden layers and outputs. With widths_match = density the hidden
// widths shrink by one factor until there are at most `density` times as many weights; then layers
// grow by one unit at a time where that still fits, the first layers first.
std::vector<std::int64_t> widths_of(const Config& config, const ModelShape& shape) {
  std::vector<std::int64_t> widths = {shape.features};
  for (const std::int64_t width : config.integers("widths")) widths.push_back(width);
  widths.push_back(shape.outputs);
  if (config.text("widths_match") != "density") return widths;
  const double wanted = config.real("density") * weight_count(widths);
  double low = 0, high = 1;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (weight_count(hidden_scaled(widths, middle)) <= wanted ? low : high) = middle;
  }
  if (weight_count(hidden_scaled(widths, 1)) <= wanted) return widths;
  std::vector<std::int64_t> fitted = hidden_scaled(widths, low);
  for (bool fits = true; fits;) {
    fits = false;
    for (std::size_t l = 1; l + 1 < widths.size(); ++l) {
      std::vector<std::int64_t> wider = fitted;
      ++wider[l];
      if (wider[l] > widths[l] || weight_count(wider) > wanted) continue;
      fitted = std::move(wider);
      fits = true;
    }
  }
  return fitted;
}

// The same, or ConfigError where the network can't be had.
std::vector<std::int64_t> checked_widths(const Config& config, const ModelShape& shape) {
  if (shape.features == 0) {
    throw ConfigError("model=mlp learns from images and data=" + config.text("data") +
                      " has none: choose an image set (`tandem list data`) or --model transformer");
  }
  std::vector<std::int64_t> widths = widths_of(config, shape);
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    if (widths[l + 1] >= 2) continue;
    throw ConfigError("layer " + std::to_string(l) + " has width " + std::to_string(widths[l + 1]) +
                      "; widths must be 2 or more, since products of width 1 round differently "
                      "in company (see --widths)");
  }
  return widths;
}

std::string layer_name(std::size_t l) { return "layer" + std::to_string(l); }

// Counts the hidden layers, beside which the last one is small, and their activations before and
// after the non-linearity.
ModelNeeds mlp_needs(const Config& config, const ModelShape& shape) {
  ModelNeeds needs;
  auto inputs = static_cast<double>(shape.features);
  for (const std::int64_t width : config.integers("widths")) {
    const auto units = static_cast<double>(width);
    needs.weights += inputs * units;
    needs.activations += inputs + 2 * units;
    inputs = units;
  }
  return needs;
}

std::vector<LayerShape> mlp_layers(const Config& config, const ModelShape& shape) {
  const std::vector<std::int64_t> widths = checked_widths(config, shape);
  std::vector<LayerShape> layers;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    layers.push_back({layer_name(l), widths[l], widths[l + 1]});
  }
  return layers;
}

using Activation = std::function<at::Tensor(const at::Tensor&)>;

std::int64_t winners_among(double share, std::int64_t units) {
  return std::max<std::int64_t>(1, std::llround(share * static_cast<double>(units)));
}

// How often each unit of h [R,B,U] lets something through, over the examples that count, int64
// [R,U].
at::Tensor active_counts(const at::Tensor& h, const at::Tensor& counted) {
  return h.detach().gt(0).logical_and(counted.unsqueeze(-1)).sum(1);
}

class Mlp : public Model {
 public:
  Mlp(const std::vector<Config>& configs, const ModelShape& shape) {
    const Config& config = configs.front();
    activation_ = config.text("activation");
    winners_ = config.real("winners");
    if (activation_ == "k_subtract") {
      switch_after_ = static_cast<double>(config.integer("switch_after"));
    }
    const std::vector<std::int64_t> widths = checked_widths(config, shape);
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
      layers_.push_back(std::make_unique<Linear>(layer_name(l), widths[l], widths[l + 1], true));
      layers_.back()->index = static_cast<std::int64_t>(l);
      initialize_linear(*layers_.back(), configs, shape);
      if (config.flag("layer_norm") && l + 2 < widths.size()) {
        const std::string name = "norm" + std::to_string(l);
        gains_.push_back(
            constant_parameter(name + ".gain", shape.replicas, {widths[l + 1]}, 1.0, shape.dtype));
        shifts_.push_back(
            constant_parameter(name + ".shift", shape.replicas, {widths[l + 1]}, 0.0, shape.dtype));
      }
    }
    for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
      epilogues_.push_back(epilogue(l));
      if (switch_after_ == 0) continue;
      active_counts_.push_back({layer_name(l) + ".active_count",
                                torch::zeros({shape.replicas, widths[l + 1]}, torch::kInt64)});
    }
  }

  at::Tensor forward(const at::Tensor& x, Context& context) override {
    at::Tensor h = x;  // [R,B,F]
    for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
      h = layers_[l]->forward(h, context, epilogues_[l]);
      if (context.observe_tensor) context.observe_tensor(layers_[l]->name(), "activation", h);
      if (context.counted_examples.defined() && !active_counts_.empty()) {
        context.additions.push_back(
            {&active_counts_[l], active_counts(h, context.counted_examples)});
      }
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
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      all.push_back(&layers_[l]->weight);
      all.push_back(&layers_[l]->bias);
      if (l < gains_.size()) {
        all.push_back(&gains_[l]);
        all.push_back(&shifts_[l]);
      }
    }
    return all;
  }

  std::vector<Buffer*> buffers() override {
    std::vector<Buffer*> all;
    for (Buffer& counts : active_counts_) all.push_back(&counts);
    return all;
  }

  std::int64_t sites(Level level) const override {
    if (level == Level::kAttention) return 0;
    std::int64_t sparsifiable = 0;
    for (const auto& layer : layers_) sparsifiable += layer->connections != nullptr;
    return sparsifiable;
  }

 private:
  // Empty: a plain ReLU, which products can apply themselves.
  Activation activation(std::size_t layer) const {
    if (activation_ == "relu") return {};
    if (activation_ == "gelu") return gelu_reproducible;
    const std::int64_t count = winners_among(winners_, layers_[layer]->outputs());
    if (activation_ == "k_winners") {
      return [count](const at::Tensor& z) { return winners(torch::relu(z), count); };
    }
    return [this, layer, count](const at::Tensor& z) {
      return inhibited(z, count, inhibition(layer, z.scalar_type()));
    };
  }

  // g of each unit, [R,1,U]; undefined: 1.
  at::Tensor inhibition(std::size_t layer, at::ScalarType type) const {
    if (active_counts_.empty()) return {};
    const at::Tensor counts = active_counts_[layer].value.to(torch::kFloat64);
    return (counts * 2 / switch_after_ - 1).clamp(-1, 1).to(type).unsqueeze(1);
  }

  Epilogue epilogue(std::size_t layer) const {
    const Activation phi = activation(layer);
    if (gains_.empty()) return phi ? Epilogue(phi) : Epilogue::relu();
    return Epilogue::after_norm(
        [this, layer](const at::Tensor& z) {
          return torch::layer_norm(z, {z.size(-1)}) * gains_[layer].value.unsqueeze(1) +
                 shifts_[layer].value.unsqueeze(1);
        },
        [phi](const at::Tensor& y) { return phi ? phi(y) : torch::relu(y); });
  }

  std::string activation_;
  double winners_ = 0, switch_after_ = 0;
  std::vector<std::unique_ptr<Linear>> layers_;
  std::vector<Parameter> gains_, shifts_;
  std::vector<Epilogue> epilogues_;    // one for each hidden layer
  std::vector<Buffer> active_counts_;  // likewise, where there is a switch
};

TANDEM_REGISTERED = models().add(
    {.kind = "model",
     .name = "mlp",
     .summary = "multi-layer perceptron of any widths",
     .cite = "",
     .uses = {"widths", "activation", "winners", "switch_after", "layer_norm", "widths_match"},
     .file = __FILE__},
    [](const std::vector<Config>& configs, const ModelShape& shape) -> std::unique_ptr<Model> {
      return std::make_unique<Mlp>(configs, shape);
    });

TANDEM_REGISTERED = declare_outline("mlp", {.needs = mlp_needs, .layers = mlp_layers});

}  // namespace
}  // namespace tandem
