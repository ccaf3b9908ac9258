// The model is a decoder-only language model over the replica axis:
//   x_0 = E[tokens]
//   x  <- x + o(gate * attention(rotate(q(n)), rotate(k(n)), v(n))),  n = rms_norm(x)
//   x  <- x + down(silu(gate(m)) * up(m)),                            m = rms_norm(x)
//   logits = rms_norm(x) E^T
// E is shared by input and output, and there are no biases. gate = sigmoid(n W_g) is one number per
// token and query head (arXiv 2511.20102, appendix C); it is the Epilogue of the attention site.
// W_g, E and the norms' gains are never sparsified.
#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "config/contexts.h"
#include "config/seeds.h"
#include "core/error.h"
#include "core/philox.h"
#include "core/shape.h"
#include "data/packed.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "nn/elementwise.h"
#include "nn/model.h"
#include "nn/outline.h"
#include "nn/transformer_ops.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

constexpr std::int64_t kBytes = 256;
constexpr double kDeviation = 0.02;  // standard deviation of the initial embedding and gate weights

struct Sizes {
  std::int64_t context, layers, width, heads, kv_heads, ff_width, vocabulary;
  double rope_theta;
  RopeFactors rope;
  bool head_gate;
  std::int64_t head_dim() const { return width / heads; }
};

[[noreturn]] void refuse(const std::string& what, const std::string& instead) {
  throw ConfigError(what + "; " + instead);
}

std::string said(const char* option, std::int64_t value) {
  return std::string(option) + " = " + std::to_string(value);
}

void check(const Sizes& s, const AttentionSetting& setting) {
  if (s.heads < 1 || s.width % s.heads != 0) {
    refuse(said("width", s.width) + " can't be shared by " + said("heads", s.heads),
           "width must be a multiple of heads");
  }
  if (s.kv_heads < 1 || s.heads % s.kv_heads != 0) {
    refuse(said("heads", s.heads) + " can't be grouped over " + said("kv_heads", s.kv_heads),
           "heads must be a multiple of kv_heads");
  }
  if (s.head_dim() % 2 != 0) {
    refuse("width / heads = " + std::to_string(s.head_dim()) + " is odd",
           "rotary positions turn pairs of components, so it must be even");
  }
  if (setting.block_size < 1 || setting.blocks < 1) {
    refuse(said("block_size", setting.block_size) + ", " + said("blocks", setting.blocks),
           "both must be 1 or more");
  }
  const Policies::Selector& rule = setting.selector;
  if (rule.score == "subblock" && setting.block_size % rule.subblocks != 0) {
    refuse(said("block_size", setting.block_size) + " has no " +
               said("attention_subblocks", rule.subblocks) + " parts of one size",
           "give a divisor");
  }
  if (rule.top_p < 1 && !block_selectors().at("selector", rule.score).shares) {
    refuse(
        "attention_top_p is a share of the importance of all earlier blocks, and that of "
        "attention_selector_score = " +
            rule.score + " is no share",
        "give softmax, subblock, oracle or indexer, or leave it out");
  }
  if (s.context < setting.block_size) {
    refuse(
        said("context", s.context) + " is shorter than " + said("block_size", setting.block_size),
        "give a longer context or smaller blocks");
  }
}

// Returns the number of weights of the linear layers.
std::int64_t weight_count(const Sizes& s) {
  const std::int64_t keys = s.kv_heads * s.head_dim();
  return s.layers * (2 * s.width * s.width + 2 * s.width * keys + 3 * s.width * s.ff_width);
}

// With widths_match = density heads get smaller, and the feed-forward layers with them, until there
// are at most `density` times as many weights; then the feed-forward layers fill what is left.
Sizes matched(const Sizes& full, double density) {
  const double wanted = density * static_cast<double>(weight_count(full));
  const auto fits = [wanted](const Sizes& s) {
    return static_cast<double>(weight_count(s)) <= wanted;
  };
  Sizes s = full;
  for (std::int64_t head = full.head_dim() / 2 * 2; head >= 2; head -= 2) {
    s.width = full.heads * head;
    s.ff_width = std::max<std::int64_t>(1, full.ff_width * s.width / full.width);
    if (!fits(s)) continue;
    while (s.ff_width < full.ff_width) {
      ++s.ff_width;
      if (fits(s)) continue;
      --s.ff_width;
      break;
    }
    return s;
  }
  refuse("density = " + std::to_string(density) + " leaves " + std::to_string(full.heads) +
             " heads no two components each",
         "a dense net as small needs fewer heads or a larger density");
}

Sizes sizes_of(const Config& config, const ModelShape& shape) {
  Sizes s{.context = config.integer("context"),
          .layers = config.integer("layers"),
          .width = config.integer("width"),
          .heads = config.integer("heads"),
          .kv_heads = config.integer("kv_heads"),
          .ff_width = config.integer("ff_width"),
          .vocabulary = shape.outputs > 0 ? shape.outputs : kBytes,
          .rope_theta = config.real("rope_theta"),
          .rope = rope_factors(config.text("rope_scaling"), config.real("rope_factor")),
          .head_gate = config.flag("head_gate")};
  if (s.ff_width == 0) s.ff_width = ((8 * s.width + 2) / 3 + 7) / 8 * 8;
  return s;
}

AttentionSetting setting_of(const Config& config) {
  return {.block_size = config.integer("block_size"),
          .blocks = config.integer("blocks"),
          .selector = policies_of(config, Level::kAttention).selector};
}

// A base is scaled by a power of D / (D - 2).
void check_rope(const Config& config, const Sizes& s) {
  const std::vector<std::string> read = read_scalings(config);
  const bool reads =
      !context_multiples(config).empty() && std::count(read.begin(), read.end(), "ntk") != 0;
  if (s.head_dim() > 2 || (s.rope.ntk == 1 && !reads)) return;
  refuse(std::string(reads ? "eval_scalings" : "rope_scaling") +
             " = ntk raises the base of rotary positions by a power of D / (D - 2), and width / "
             "heads = D = 2",
         "give linear, or heads of 4 numbers or more");
}

// Returns the sizes that the run's method asks for.
Sizes checked_sizes(const Config& config, const ModelShape& shape) {
  const Sizes s = sizes_of(config, shape);
  const AttentionSetting setting = setting_of(config);
  check(s, setting);
  const std::string module = policies_of(config, Level::kAttention).module;
  const auto own_check = attention_modules().at("attention_module", module).check;
  if (own_check != nullptr) own_check(config, setting);
  const bool narrower = config.text("widths_match") == "density";
  const Sizes sizes = narrower ? matched(s, config.real("density")) : s;
  check_rope(config, sizes);
  return sizes;
}

// A feed-forward width that isn't said counts as the 8/3 of the residual stream that it will be.
ModelNeeds transformer_needs(const Config& config, const ModelShape& shape) {
  const auto real = [&](const char* option) { return static_cast<double>(config.integer(option)); };
  const double width = real("width"), layers = real("layers"), context = real("context");
  const double ff = real("ff_width") > 0 ? real("ff_width") : width * 8 / 3;
  const auto vocabulary = static_cast<double>(shape.outputs > 0 ? shape.outputs : kBytes);
  return {layers * (4 * width * width + 3 * width * ff) + vocabulary * width,
          context * (layers * (8 * width + 3 * ff + 3 * real("heads") * context) + vocabulary)};
}

struct LinearSize {
  const char* name;
  std::int64_t inputs, outputs;
};

// Returns the linear layers of one block, in the order of the network.
std::vector<LinearSize> linear_sizes(const Sizes& s) {
  const std::int64_t width = s.width, keys = s.kv_heads * s.head_dim();
  return {{"q", width, width},
          {"k", width, keys},
          {"v", width, keys},
          {"o", width, width},
          {"ff_gate", width, s.ff_width},
          {"ff_up", width, s.ff_width},
          {"ff_down", s.ff_width, width}};
}

std::string block_name(std::int64_t index) { return "layer" + std::to_string(index); }

void check_sequences(const Config& config, const ModelShape& shape) {
  if (shape.features == 0) return;
  throw ConfigError("model=transformer reads sequences and data=" + config.text("data") +
                    " is a set of images: choose --data bytes or --model mlp");
}

std::vector<LayerShape> transformer_layers(const Config& config, const ModelShape& shape) {
  const Sizes sizes = checked_sizes(config, shape);
  check_sequences(config, shape);
  std::vector<LayerShape> layers;
  for (std::int64_t l = 0; l < sizes.layers; ++l) {
    for (const LinearSize& each : linear_sizes(sizes)) {
      layers.push_back({block_name(l) + "." + each.name, each.inputs, each.outputs});
    }
  }
  return layers;
}

struct Layer {
  std::string name;  // "layer0"
  Parameter attention_norm, ff_norm, head_gate;
  std::unique_ptr<Linear> q, k, v, o, ff_gate, ff_up, ff_down;
  std::unique_ptr<AttentionModule> attention;

  std::vector<Linear*> linears() const {
    return {q.get(), k.get(), v.get(), o.get(), ff_gate.get(), ff_up.get(), ff_down.get()};
  }
};

class Transformer : public Model {
 public:
  Transformer(const std::vector<Config>& configs, const ModelShape& shape)
      : sizes_(checked_sizes(configs.front(), shape)),
        setting_(setting_of(configs.front())),
        packed_(configs.front().text("documents") == "pack") {
    const Config& config = configs.front();
    check_sequences(config, shape);
    embedding_ = normal_parameter("embedding", configs, {sizes_.vocabulary, sizes_.width},
                                  kDeviation, shape.dtype);
    for (std::int64_t l = 0; l < sizes_.layers; ++l) layers_.push_back(layer(l, configs, shape));
    final_norm_ = gain("final_norm", shape);
    std::int64_t index = 0;
    for (const Layer& each : layers_) {
      for (Linear* linear : each.linears()) linear->index = index++;
    }
  }

  at::Tensor forward(const at::Tensor& x, Context& context) override {
    expect_shape(x, {embedding_.replicas(), -1, -1}, "x");
    const std::int64_t replicas = x.size(0), batch = x.size(1), tokens = x.size(2);
    const Tables& constants = tables_for(tokens, sizes_.rope.times(context.rope));
    std::optional<Tables> own;
    if (packed_) own.emplace(of_documents(x, constants));
    const Tables& tables = own ? *own : constants;
    context.rows_per_example = tokens;
    const at::Tensor symbols = packed_ ? unpacked_tokens(x) : x;
    at::Tensor h =
        embed(embedding_.value, symbols.reshape({replicas, batch * tokens}));  // [R,B T,W]
    for (const Layer& layer : layers_) {
      h = h + attend(layer, rms_norm(h, layer.attention_norm.value), batch, tables, context);
      h = h + feed_forward(layer, rms_norm(h, layer.ff_norm.value), context);
    }
    h = rms_norm(h, final_norm_.value);
    const at::Tensor logits = batched_product(h, embedding_.value.transpose(1, 2))
                                  .view({replicas, batch, tokens, sizes_.vocabulary});
    return logits;
  }

  std::vector<Linear*> linears() override {
    std::vector<Linear*> all;
    for (const Layer& layer : layers_) {
      for (Linear* linear : layer.linears()) all.push_back(linear);
    }
    return all;
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {&embedding_};
    for (Layer& layer : layers_) {
      all.push_back(&layer.attention_norm);
      if (sizes_.head_gate) all.push_back(&layer.head_gate);
      for (Parameter* own : layer.attention->parameters()) all.push_back(own);
      all.push_back(&layer.ff_norm);
      for (Linear* linear : layer.linears()) all.push_back(&linear->weight);
    }
    all.push_back(&final_norm_);
    return all;
  }

  std::int64_t sites(Level level) const override {
    if (level == Level::kAttention) return sizes_.layers;
    std::int64_t sparsifiable = 0;
    for (const Layer& layer : layers_) {
      for (const Linear* linear : layer.linears()) sparsifiable += linear->connections != nullptr;
    }
    return sparsifiable;
  }

  double dense_products() const override {
    const std::int64_t gates = sizes_.head_gate ? sizes_.layers * sizes_.heads : 0;
    auto sum = static_cast<double>(sizes_.width * (sizes_.vocabulary + gates));
    for (const Layer& layer : layers_) sum += layer.attention->dense_products();
    return sum;
  }

  // An example is one sequence of `context` tokens.
  double attention_flops(bool full, double blocks) const override {
    double flops = 0;
    for (const Layer& layer : layers_) {
      flops += layer.attention->flops(sizes_.context, full, blocks);
    }
    return flops;
  }

 private:
  struct Tables {
    AttentionTables attention;
    RotaryTables rotary;
  };

  Parameter gain(const std::string& name, const ModelShape& shape) const {
    return constant_parameter(name, shape.replicas, {sizes_.width}, 1.0, shape.dtype);
  }

  Layer layer(std::int64_t index, const std::vector<Config>& configs,
              const ModelShape& shape) const {
    Layer made;
    made.name = block_name(index);
    made.attention_norm = gain(made.name + ".attention_norm", shape);
    made.ff_norm = gain(made.name + ".ff_norm", shape);
    if (sizes_.head_gate) {
      made.head_gate = normal_parameter(made.name + ".head_gate", configs,
                                        {sizes_.width, sizes_.heads}, kDeviation, shape.dtype);
    }
    std::unique_ptr<Linear>* const places[] = {&made.q,       &made.k,     &made.v,      &made.o,
                                               &made.ff_gate, &made.ff_up, &made.ff_down};
    auto* place = places;
    for (const LinearSize& each : linear_sizes(sizes_)) {
      auto built =
          std::make_unique<Linear>(made.name + "." + each.name, each.inputs, each.outputs, false);
      initialize_linear(*built, configs, shape);
      **place++ = std::move(built);
    }
    made.attention = attention_of(index, configs, shape);
    return made;
  }

  std::unique_ptr<AttentionModule> attention_of(std::int64_t index,
                                                const std::vector<Config>& configs,
                                                const ModelShape& shape) const {
    AttentionPlace place{block_name(index), configs,           shape,    sizes_.width, sizes_.heads,
                         sizes_.kv_heads,   sizes_.head_dim(), setting_, index};
    std::vector<std::int64_t> keys;
    for (const Config& config : configs) {
      keys.push_back(
          static_cast<std::int64_t>(stream_key(run_key(config, "topology"), place.site())));
    }
    place.setting.keys = torch::tensor(keys);
    const Policies policies = policies_of(configs.front(), Level::kAttention);
    return attention_modules().at("attention_module", policies.module).make(place);
  }

  // Positions begin anew with each document. What is turned is read relatively, but a module may
  // make other things of keys that are turned (nsa compresses them).
  Tables of_documents(const at::Tensor& x, const Tables& constants) const {
    const std::int64_t tokens = x.size(2);
    const at::Tensor starts = document_starts(x);
    return {AttentionTables(tokens, setting_.block_size, embedding_.value, starts, sizes_.kv_heads),
            constants.rotary.at(torch::arange(tokens, starts.options()) - starts)};
  }

  // Takes n [R,B T,W] to the attention's output of the same shape.
  at::Tensor attend(const Layer& layer, const at::Tensor& n, std::int64_t batch,
                    const Tables& tables, Context& context) const {
    const std::int64_t replicas = n.size(0), tokens = n.size(1) / batch;
    const auto heads = [&](const Linear& linear, std::int64_t count) {
      return linear.forward(n, context).reshape({replicas, batch, tokens, count, -1});
    };
    const at::Tensor q = rotate(heads(*layer.q, sizes_.heads), tables.rotary);
    const at::Tensor k = rotate(heads(*layer.k, sizes_.kv_heads), tables.rotary);
    const at::Tensor v = heads(*layer.v, sizes_.kv_heads);
    const std::string site = layer.name + ".attention";
    Epilogue epilogue;
    if (sizes_.head_gate) {
      const at::Tensor gate =
          sigmoid_reproducible(gate_scores(layer, n)).view({replicas, batch, tokens, sizes_.heads});
      if (context.observe_tensor) context.observe_tensor(site, kObserveGate, gate.detach());
      epilogue = [gate](const at::Tensor& out) { return out * gate.unsqueeze(-1); };
    }
    const auto rotated = [&](const at::Tensor& x) { return rotate(x, tables.rotary); };
    const at::Tensor out =
        layer.attention->forward({n, q, k, v, tables.attention, rotated, epilogue}, context);
    return layer.o->forward(out.reshape({replicas, batch * tokens, sizes_.width}), context);
  }

  // A product of width 1 would round differently in company, so one head is a weighted sum.
  at::Tensor gate_scores(const Layer& layer, const at::Tensor& n) const {
    const at::Tensor& weight = layer.head_gate.value;  // [R,W,H]
    if (sizes_.heads > 1) return batched_product(n, weight);
    return (n * weight.transpose(1, 2)).sum(-1, /*keepdim=*/true);
  }

  at::Tensor feed_forward(const Layer& layer, const at::Tensor& m, Context& context) const {
    const Epilogue silu = [](const at::Tensor& z) { return silu_reproducible(z); };
    const at::Tensor u =
        layer.ff_gate->forward(m, context, silu) * layer.ff_up->forward(m, context);
    if (context.observe_tensor) context.observe_tensor(layer.name + ".ff", "activation", u);
    return layer.ff_down->forward(u, context);
  }

  const Tables& tables_for(std::int64_t tokens, const RopeFactors& rope) {
    const at::Tensor& like = embedding_.value;
    const auto key = std::make_tuple(
        tokens, rope.linear, rope.ntk, static_cast<int>(like.device().type()),
        static_cast<int>(like.device().index()), static_cast<int>(like.scalar_type()));
    auto& made = tables_[key];
    if (made == nullptr) {
      made = std::make_unique<Tables>(
          Tables{AttentionTables(tokens, setting_.block_size, like),
                 RotaryTables(tokens, sizes_.head_dim(), sizes_.rope_theta, like, rope)});
    }
    return *made;
  }

  Sizes sizes_;
  AttentionSetting setting_;
  bool packed_;  // tokens carry where their document begins (data/packed.h)
  Parameter embedding_, final_norm_;
  std::vector<Layer> layers_;
  std::map<std::tuple<std::int64_t, double, double, int, int, int>, std::unique_ptr<Tables>>
      tables_;
};

TANDEM_REGISTERED = models().add(
    {.kind = "model",
     .name = "transformer",
     .summary = "decoder-only language model with grouped-query attention, head gate and SwiGLU",
     .cite = "",
     .defaults = {{"optimizer", "adamw"},
                  {"lr", "1e-3"},
                  {"beta2", "0.95"},
                  {"weight_decay", "0.1"},
                  {"decay_mode", "decoupled"},
                  {"clip", "1"},
                  {"lr_schedule", "cosine"}},
     .uses = {"context", "layers", "width", "heads", "kv_heads", "ff_width", "rope_theta",
              "rope_scaling", "rope_factor", "eval_contexts", "eval_scalings", "head_gate",
              "block_size", "blocks", "widths_match"},
     .file = __FILE__},
    [](const std::vector<Config>& configs, const ModelShape& shape) -> std::unique_ptr<Model> {
      return std::make_unique<Transformer>(configs, shape);
    });

TANDEM_REGISTERED = declare_outline("transformer", {.attention = true,
                                                    .sequences = true,
                                                    .needs = transformer_needs,
                                                    .layers = transformer_layers});

}  // namespace
}  // namespace tandem
